import type { Endpoint } from './ask.ts';
import { el, part, whenNew } from './dom.ts';

export interface ModelInputs {
  readonly inputs?: readonly {
    readonly name: string;
    readonly datatype: string;
    readonly shape: readonly number[];
  }[];
}

const EXAMPLES: Readonly<Record<string, unknown>> = { BOOL: true, BYTES: 'text' };
const exampleOf = (datatype: string) => EXAMPLES[datatype] ?? (datatype.startsWith('FP') ? 1.5 : 1);

/** A body that a model with these inputs takes; `inputs` as KServe V2 tells them. */
export function exampleBody({ inputs = [] }: ModelInputs): string {
  const [only, second] = inputs;
  if (only && !second && only.shape.length > 1) {
    const across = Math.max(1, only.shape.at(-1) ?? 1);
    return JSON.stringify({ inputs: [Array(across).fill(exampleOf(only.datatype))] });
  }
  const record = Object.fromEntries(
    inputs.map(({ name, datatype }) => [name, exampleOf(datatype)]),
  );
  return JSON.stringify({ dataframe_records: [record] });
}

/** Within single quotes of a shell. */
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

export interface Line {
  readonly title: string;
  readonly text: string;
}

export function linesOf(
  origin: string,
  endpoint: { name: string; inputs: ModelInputs } | undefined,
  local: boolean,
): Line[] {
  return [
    { title: 'MLflow, in a shell', text: `export MLFLOW_TRACKING_URI=${origin}` },
    ...(local ? [] : [{ title: 'With a token', text: 'export MLFLOW_TRACKING_TOKEN=sf_…' }]),
    { title: 'Kubeflow Pipelines, in Python', text: `client = kfp.Client(host="${origin}")` },
    ...(endpoint
      ? [
          {
            title: `A prediction from ${endpoint.name}`,
            text: `curl ${origin}/endpoints/${encodeURIComponent(endpoint.name)}/invocations -H 'Content-Type: application/json' -d ${quoted(exampleBody(endpoint.inputs))}`,
          },
        ]
      : []),
  ];
}

export function drawLines(endpoint: { endpoint: Endpoint; inputs: ModelInputs } | undefined): void {
  const lines = linesOf(
    location.origin,
    endpoint && { name: endpoint.endpoint.name, inputs: endpoint.inputs },
    /^(localhost|127\.|\[::1\])/.test(location.hostname),
  );
  whenNew('lines', lines, () => {
    part('lines').replaceChildren(
      ...lines.map(({ title, text }) => {
        const copy = el(
          'button',
          { type: 'button', class: 'copy', 'aria-label': `Copy: ${title}` },
          'Copy',
        );
        copy.addEventListener('click', () => void copied(copy, text));
        return el(
          'li',
          {},
          el('span', { class: 'sub' }, title),
          el('code', { tabindex: 0 }, text),
          copy,
        );
      }),
    );
  });
}

async function copied(button: HTMLButtonElement, text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    // Without leave to the clipboard (no secure origin) the line is selected, ready for the user's own copy.
    const line = button.parentElement?.querySelector('code');
    if (line) getSelection()?.selectAllChildren(line);
    button.textContent = 'Selected';
  }
  setTimeout(() => {
    button.textContent = 'Copy';
  }, 2000);
}

import type { Endpoint, ModelWithVersions, Retraining } from './ask.ts';
import { el, part, table, time, whenNew } from './dom.ts';
import { figure, gist, shortened } from './words.ts';

const blank = () => el('span', { class: 'blank' }, '–');
const nothing = (words: string) => el('p', { class: 'empty' }, words);

export function drawModels(
  models: readonly ModelWithVersions[],
  retrainings: readonly Retraining[],
  endpoints: readonly Endpoint[],
): void {
  const made = new Map(
    retrainings.flatMap((one) =>
      one.decision?.version === undefined
        ? []
        : [[`${one.gate.model}\n${one.decision.version}`, one] as const],
    ),
  );
  whenNew('models', [models, [...made], endpoints], () => {
    const root = part('versions');
    const before = spotsOf(root);
    if (!models.length) return root.replaceChildren(nothing('No model is registered yet.'));
    const rows = models.flatMap((model) =>
      model.versions.map(({ version, aliases, createdAt }, at) => {
        const answers = endpoints.filter(
          (one) => one.version === version && modelOf(one) === model.name,
        );
        return {
          classes: at === 0 ? 'first' : '',
          cells: [
            at ? el('span', { class: 'hidden' }, model.name) : model.name,
            `${version}`,
            el(
              'span',
              { class: 'chips' },
              ...aliases.map((alias) =>
                el('span', { class: 'chip', 'data-chip': `${model.name}@${alias}` }, alias),
              ),
              ...answers.map((one) =>
                el(
                  'span',
                  {
                    class: 'chip serves',
                    title: `The endpoint ${one.name} answers with this version`,
                  },
                  `serves ${one.name}`,
                ),
              ),
            ),
            metricOf(made.get(`${model.name}\n${version}`)),
            time(createdAt),
          ],
        };
      }),
    );
    root.replaceChildren(
      table('Models and their versions', ['Model', 'Version', 'Alias', 'Metric', 'Made'], rows),
    );
    glide(root, before);
  });
}

/** `wape 0.051 → 0.043`: of the champion it was held against, and its own. */
function metricOf(one: Retraining | undefined): Element {
  const { before, after } = one?.decision ?? {};
  if (!one || after === undefined) return blank();
  const from = before === undefined ? '' : `${figure(before)} → `;
  return el('span', {}, `${one.gate.metric} ${from}`, el('b', {}, figure(after)));
}

const spotsOf = (root: Element) =>
  new Map(
    [...root.querySelectorAll<HTMLElement>('[data-chip]')].map((chip) => [
      chip.dataset['chip'],
      chip.getBoundingClientRect(),
    ]),
  );

/** An alias that moved glides from where it was, so that the eye can follow. */
function glide(root: Element, before: ReadonlyMap<string | undefined, DOMRect>): void {
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  for (const chip of root.querySelectorAll<HTMLElement>('[data-chip]')) {
    const was = before.get(chip.dataset['chip']);
    const is = chip.getBoundingClientRect();
    if (!was) continue;
    const from = `translate(${was.left - is.left}px, ${was.top - is.top}px)`;
    chip.animate([{ transform: from }, { transform: 'none' }], {
      duration: 900,
      easing: 'cubic-bezier(.3,0,.2,1)',
    });
  }
}

/** `models:/name/3` and `models:/name@alias`. */
export const modelOf = ({ model }: Pick<Endpoint, 'model'>): string =>
  model.replace(/^models:\//, '').replace(/(@[^@/]*|\/[^/]*)$/, '');

export function drawEndpoints(endpoints: readonly Endpoint[]): void {
  whenNew('endpoints', endpoints, () => {
    part('endpoints').replaceChildren(
      endpoints.length
        ? table(
            'Endpoints',
            ['Name', 'State', 'Answers', 'Since'],
            endpoints.map((one) => ({
              cells: [
                el('span', {}, one.name, el('span', { class: 'sub' }, one.model)),
                el(
                  'span',
                  { class: `state ${one.state}`, title: one.failure ?? '' },
                  one.state.replace('-', ' '),
                ),
                one.version === undefined
                  ? blank()
                  : `version ${one.version}${one.target && one.target.version !== one.version ? ` → ${one.target.version}` : ''}`,
                time(one.updatedAt),
              ],
            })),
          )
        : nothing('Nothing is served yet.'),
    );
  });
}

export function drawRetrainings(
  retrainings: readonly Retraining[],
  choose: (key: string) => void,
): void {
  whenNew('retrainings', retrainings, () => {
    if (!retrainings.length)
      return part('retrainings').replaceChildren(
        nothing(
          'No retraining yet. A rule starts one when data arrives, by the clock or by an event.',
        ),
      );
    const rows = retrainings.map((one) => {
      const { version, champion } = one.decision ?? {};
      const open = el(
        'button',
        { type: 'button', class: 'link', 'data-key': one.id },
        one.rule ?? 'by hand',
      );
      open.addEventListener('click', () => choose(`retrainings/${one.id}`));
      return {
        cells: [
          open,
          el(
            'span',
            { class: `state ${one.state}` },
            one.state === 'kept' ? 'champion kept' : one.state,
          ),
          version === undefined
            ? blank()
            : el(
                'span',
                { class: 'figures' },
                champion === undefined ? '' : `${champion} → `,
                `${version}`,
              ),
          metricOf(one),
          one.reason === undefined
            ? blank()
            : el('span', { class: 'reason', title: one.reason }, shortened(gist(one.reason), 220)),
          time(one.startedAt),
        ],
      };
    });
    part('retrainings').replaceChildren(
      table('Retrainings', ['Rule', 'Outcome', 'Version', 'Metric', 'Reason', 'Started'], rows),
    );
  });
}

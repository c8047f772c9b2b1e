import type { Retraining, Run } from './ask.ts';
import { el, keepingFocus, part, roving, time, whenNew } from './dom.ts';
import { shortened, span } from './words.ts';

/** A line of the list: a pipeline run, or the machine `retraining` around one. */
export interface Execution {
  /** `runs/<id>` or `retrainings/<id>`: also the page's address behind the #. */
  readonly key: string;
  readonly title: string;
  readonly kind: string;
  readonly state: 'running' | 'succeeded' | 'failed' | 'stopped' | 'waiting';
  /** The state in words. */
  readonly said: string;
  readonly startedAt: number;
  readonly endedAt: number | undefined;
  /** What to ask for the machine. */
  readonly path: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Why it ended as it did. */
  readonly why: string | undefined;
}

const RUN_STATES: Readonly<Record<string, readonly [Execution['state'], string]>> = {
  PENDING: ['waiting', 'waiting'],
  CANCELING: ['running', 'stopping'],
  CANCELED: ['stopped', 'stopped'],
};
const OUTCOMES: Readonly<Record<Retraining['state'], readonly [Execution['state'], string]>> = {
  running: ['running', 'running'],
  promoted: ['succeeded', 'promoted'],
  kept: ['succeeded', 'champion kept'],
  refused: ['failed', 'refused'],
  failed: ['failed', 'failed'],
};

/** Running, succeeded, failed. */
function plain(state: string): readonly [Execution['state'], string] {
  const word = state.toLowerCase();
  return [word as Execution['state'], word];
}

/** Both kinds, newest first. */
export function executions(runs: readonly Run[], retrainings: readonly Retraining[]): Execution[] {
  const causes = new Map(retrainings.map((one) => [one.runId, one]));
  const ofRuns = runs.map((run): Execution => {
    const [state, said] = RUN_STATES[run.state] ?? plain(run.state);
    const around = causes.get(run.run_id);
    return {
      key: `runs/${run.run_id}`,
      title: around ? around.pipeline : run.display_name,
      kind: around ? 'run by a rule' : 'run',
      state,
      said,
      startedAt: Date.parse(run.created_at),
      endedAt: run.finished_at ? Date.parse(run.finished_at) : undefined,
      path: `/api/runs/${encodeURIComponent(run.run_id)}/machine`,
      parameters: run.runtime_config?.parameters ?? {},
      why: run.error?.message,
    };
  });
  const ofRetrainings = retrainings.map((one): Execution => {
    const [state, said] = OUTCOMES[one.state];
    return {
      key: `retrainings/${one.id}`,
      title: one.rule ?? one.pipeline,
      kind: 'retraining',
      state,
      said,
      startedAt: one.startedAt,
      endedAt: one.endedAt,
      path: `/api/retrainings/${encodeURIComponent(one.id)}/machine`,
      parameters: one.parameters,
      why: one.reason,
    };
  });
  // A retraining and its run start in one moment: the outer one comes first.
  return [...ofRetrainings, ...ofRuns].sort((a, b) => b.startedAt - a.startedAt);
}

export function drawRuns(
  list: readonly Execution[],
  chosen: string | undefined,
  choose: (key: string) => void,
): void {
  const root = part('runs');
  whenNew('runs', { list, chosen }, () =>
    keepingFocus(root, () => {
      const lines = list.map((one) => {
        const took = one.endedAt === undefined ? '' : span(one.endedAt - one.startedAt);
        const line = el(
          'button',
          {
            type: 'button',
            class: `run ${one.state}`,
            'data-key': one.key,
            'aria-current': one.key === chosen ? 'true' : undefined,
            title: one.title,
          },
          el('span', { class: 'mark', 'aria-hidden': 'true' }),
          el('span', { class: 'name' }, shortened(one.title, 34)),
          time(one.startedAt),
          el('span', { class: 'sub' }, `${one.kind}, ${one.said}${took && `, ${took}`}`),
        );
        line.addEventListener('click', () => choose(one.key));
        return line;
      });
      roving(
        lines,
        lines.find((line) => line.dataset['key'] === chosen),
      );
      root.replaceChildren(...lines.map((line) => el('li', {}, line)));
    }),
  );
}

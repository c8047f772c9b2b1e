import {
  ask,
  askMaybe,
  type DataFile,
  type Endpoint,
  type Machine,
  type Model,
  type ModelWithVersions,
  Refusal,
  type Retraining,
  type Run,
} from './ask.ts';
import { drawLines, type ModelInputs } from './connect.ts';
import { part, refreshTimes, walkButtons, whenNew } from './dom.ts';
import { type Drop, readDrop } from './drop.ts';
import { drawForecasts, walkForecasts } from './forecast.ts';
import { clearMachine, drawMachine, isOver, walkMachine } from './machine.ts';
import { drawEndpoints, drawModels, drawRetrainings, modelOf } from './models.ts';
import { poll } from './poll.ts';
import { drawRuns, type Execution, executions } from './runs.ts';
import { span } from './words.ts';

/** The page asks what every client may ask, in rounds; each part draws itself only when its facts have changed. */
const MOST = { runs: 20, models: 12, versions: 12, drops: 24, dropBytes: 4_000_000 };
let chosen = keyOf(location.hash);
let list: readonly Execution[] = [];
let known: { run: Execution; machine: Machine } | undefined;
const models = new Map<string, ModelWithVersions>();
const inputs = new Map<string, ModelInputs>();
const drops = new Map<string, Drop | undefined>();

/** `#/runs/details/<id>` is what the kfp client prints; `#/experiments/1/runs/<id>`, the mlflow client. */
function keyOf(hash: string): string | undefined {
  const [, room, id] = /^#\/(runs|retrainings)\/(?:details\/)?([\w-]{1,80})$/.exec(hash) ?? [];
  if (room) return `${room}/${id}`;
  const [, run] = /^#\/experiments\/[^/]+\/runs\/([0-9a-f]{32})$/.exec(hash) ?? [];
  return run && `runs/${run.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')}`;
}

async function round(signal: AbortSignal): Promise<boolean> {
  const newest = `/apis/v2beta1/runs?page_size=${MOST.runs}&sort_by=created_at%20desc`;
  const { runs = [] } = await ask<{ runs?: Run[] }>(newest, signal);
  const again = `/api/retrainings?limit=${MOST.runs}`;
  const { retrainings } = await ask<{ retrainings: Retraining[] }>(again, signal);
  list = executions(runs, retrainings).slice(0, MOST.runs);
  part('no-runs').hidden = list.length > 0;
  part('bench').hidden = list.length === 0;
  drawRuns(list, current()?.key, choose);
  drawRetrainings(retrainings, choose);
  await machine(signal);
  const { endpoints } = await ask<{ endpoints: Endpoint[] }>('/api/endpoints?limit=50', signal);
  drawEndpoints(endpoints);
  drawModels(await versions(signal), retrainings, endpoints);
  drawLines(await example(endpoints, signal));
  drawForecasts(await scored(signal));
  const busy = list.filter(({ state }) => state === 'running' || state === 'waiting').length;
  const moving = endpoints.filter(({ state }) => state === 'deploying').length;
  say(
    busy ? `${busy} running` : moving ? 'deploying' : 'idle',
    busy || moving ? 'running' : 'idle',
  );
  refreshTimes();
  return busy + moving > 0;
}

/** What a person chose, else what runs, else the newest; a pipeline run rather than what is around it. */
function current(): Execution | undefined {
  const asked = list.find(({ key }) => key === chosen);
  const inner = list.filter(({ key }) => key.startsWith('runs/'));
  return asked ?? inner.find(({ state }) => state === 'running') ?? inner[0] ?? list[0];
}

async function machine(signal: AbortSignal): Promise<void> {
  const now =
    chosen !== undefined && !list.some(({ key }) => key === chosen) ? older(chosen) : current();
  if (!now) return clearMachine('');
  const over = now.state !== 'running' && now.state !== 'waiting';
  if (known?.run.key === now.key && isOver(known.machine.state) && over)
    return show(now, known.machine);
  const machine = await askMaybe<Machine>(now.path, signal);
  if (machine) return show(now, machine);
  if (now.said === '') chosen = undefined;
  clearMachine('This machine is not to be had: it was deleted, or has not begun.');
}

/** An address of a run that the list no longer holds. */
function older(key: string): Execution {
  const [room = '', id = ''] = key.split('/');
  const path = `/api/${room}/${encodeURIComponent(id)}/machine`;
  const none = { startedAt: 0, endedAt: undefined, parameters: {}, why: undefined };
  return { key, title: id, kind: 'run', state: 'stopped', said: '', path, ...none };
}

function show(now: Execution, machine: Machine): void {
  const said = now.said || machine.state.toLowerCase();
  const run = now.said ? now : { ...now, title: machine.name, said };
  known = { run, machine };
  drawMachine(run, machine);
  whenNew('run-name', [run.key, run.title, said], () => {
    part('run-name').textContent = `${run.title}: ${said}`;
    part('spoken').textContent = `${run.title}: ${said}`;
  });
}

/** Of each model, asked again only when it has changed. */
async function versions(signal: AbortSignal): Promise<ModelWithVersions[]> {
  const found = await ask<{ models: Model[] }>(`/api/models?limit=${MOST.models}`, signal);
  for (const { name, updatedAt, aliases } of found.models) {
    const before = models.get(name);
    if (
      before?.updatedAt === updatedAt &&
      JSON.stringify(before.aliases) === JSON.stringify(aliases)
    )
      continue;
    const path = `/api/models/${encodeURIComponent(name)}?limit=${MOST.versions}`;
    const model = await askMaybe<ModelWithVersions>(path, signal);
    if (model) models.set(name, model);
  }
  return found.models.flatMap(({ name }) => models.get(name) ?? []);
}

/** An endpoint that answers, and what its model takes. */
async function example(endpoints: readonly Endpoint[], signal: AbortSignal) {
  const endpoint = endpoints.find(({ version }) => version !== undefined);
  if (!endpoint) return undefined;
  const key = `${endpoint.name} ${modelOf(endpoint)} ${endpoint.version}`;
  if (!inputs.has(key))
    try {
      inputs.set(
        key,
        await ask<ModelInputs>(`/v2/models/${encodeURIComponent(endpoint.name)}`, signal),
      );
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      inputs.set(key, {});
    }
  return { endpoint, inputs: inputs.get(key) ?? {} };
}

/** The scored drops, newest first; each file is read once as long as it stays as it is. */
async function scored(signal: AbortSignal): Promise<Drop[]> {
  const { data } = await ask<{ data: DataFile[] }>('/api/data?folder=forecast&limit=1000', signal);
  const files = data
    .filter(({ path, sizeBytes }) => path.endsWith('.json') && sizeBytes <= MOST.dropBytes)
    .slice(-MOST.drops)
    .reverse();
  const found: Drop[] = [];
  for (const { path, etag } of files) {
    const key = `${path} ${etag}`;
    if (!drops.has(key)) {
      const place = path.split('/').map(encodeURIComponent).join('/');
      drops.set(key, await readable(ask(`/api/data/${place}`, signal), path.slice(9, -5)));
    }
    const drop = drops.get(key);
    if (drop) found.push(drop);
  }
  return found;
}

/** Undefined for what is gone meanwhile, or is no such file. */
async function readable(file: Promise<unknown>, name: string): Promise<Drop | undefined> {
  try {
    return readDrop(await file, name);
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Refusal && error.status < 500))
      return undefined;
    throw error;
  }
}

function choose(key: string): void {
  chosen = key;
  history.replaceState(null, '', `#/${key}`);
  drawRuns(list, key, choose);
  again();
}

function say(words: string, state: 'idle' | 'running' | 'lost'): void {
  whenNew('status', [words, state], () => {
    part('status').textContent = words;
    part('status').className = state;
  });
}

function keys(): void {
  const dialog = part<HTMLDialogElement>('keys');
  part('show-keys').addEventListener('click', () => dialog.showModal());
  document.addEventListener('keydown', (event) => {
    const typing =
      event.target instanceof HTMLElement && event.target.matches('input, select, textarea');
    if (event.key === '?' && !typing && !dialog.open) dialog.showModal();
  });
}

part('address').textContent = location.origin;
drawLines(undefined);
keys();
walkButtons('runs');
walkForecasts();
walkMachine(() => known && drawMachine(known.run, known.machine));
addEventListener('hashchange', () => {
  chosen = keyOf(location.hash) ?? chosen;
  again();
});
setInterval(() => {
  if (!document.hidden) refreshTimes();
}, 1000);
const again = poll({
  ask: round,
  told(failed) {
    if (!failed) return;
    const { error, againAt } = failed;
    const why =
      error instanceof Refusal && error.status < 500
        ? `the server refused (${error.status})`
        : 'server unreachable';
    say(`${why}, retrying in ${span(againAt - Date.now())}`, 'lost');
  },
});
again();

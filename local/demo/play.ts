import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { type Api, type Retraining, type Run, until } from './api.ts';
import type { Snakes } from './python.ts';
import type { DemoServer } from './server.ts';
import type { Teller } from './tell.ts';
import { type Act, FIRST, freshPath } from './year.ts';

/** What the demo says of itself, and whether it was so. */
export interface Claim {
  readonly claim: string;
  readonly held: boolean;
}
/** One drop of data and what became of it. WAPEs are shares: 0.04 is 4 %. */
export interface DropRow {
  readonly drop: string;
  readonly outcome: 'trained' | 'promoted' | 'kept' | 'refused' | 'failed' | 'nothing new';
  readonly retraining?: string;
  readonly version?: number;
  readonly before?: number;
  readonly after?: number;
  readonly naive?: number;
  readonly reason?: string;
}
/** A month that the endpoint forecast day by day. */
export interface ServedRow {
  readonly month: string;
  readonly version: number;
  readonly predictions: number;
  readonly model: number;
  readonly naive: number;
}
export interface Played {
  readonly drops: readonly DropRow[];
  readonly served: readonly ServedRow[];
  readonly claims: readonly Claim[];
  /** Since the demo began. */
  readonly seconds: { firstPrediction: number; firstRetrain: number };
}

export interface PlayParts {
  readonly api: Api;
  readonly server: DemoServer;
  readonly python: Snakes;
  readonly tell: Teller;
  readonly act: Act;
  /** Where drops.py has left the files. */
  readonly files: string;
  /** Kill the server in the first retraining. */
  readonly chaos: boolean;
}

const Trained = z.object({ run: z.string(), version: z.number() });
const Served = z.object({
  month: z.string(),
  predictions: z.number(),
  model: z.number(),
  naive: z.number(),
});
const TRAIN_SECONDS = 600;
const DEPLOY_SECONDS = 120;
/** The champion must beat the seasonal-naive forecast by this share. */
const MINIMUM_GAIN = 0.1;

export const gain = ({ model, naive }: { model: number; naive: number }) => 1 - model / naive;
const percent = (share: number) => `${(share * 100).toFixed(2)} %`;
const lastDayOf = (month: string) =>
  new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5, 7)), 0))
    .toISOString()
    .slice(0, 10);

/**
 * One act: a first training by the kfp client if there is no champion yet, its endpoint, then drop by drop the forecast
 * of the month to come and the retraining that the drop's arrival starts. Throws when something does not happen at all;
 * what happens otherwise than claimed is among the claims.
 */
export async function play(parts: PlayParts): Promise<Played> {
  const { api, python, tell, act, files } = parts;
  const drops: DropRow[] = [];
  const served: ServedRow[] = [];
  const claims: Claim[] = [];
  const claim = (text: string, held: boolean) => claims.push({ claim: text, held });
  const seconds = { firstPrediction: 0, firstRetrain: 0 };
  let version = await firstTraining(parts, drops);
  await api.put(`/api/endpoints/${act.model}`, { model: `models:/${act.model}@champion` });
  await answers(parts, version);

  const forecast = async (month: string, until: string) => {
    const place = ['--until', until, '--endpoint', act.model, '--version', String(version)];
    const scored = Served.parse(await python.run('predict.py', [api.url, files, month, ...place]));
    seconds.firstPrediction ||= tell.seconds();
    served.push({ ...scored, version });
    tell.line(
      `Asked the endpoint (version ${version}) for ${scored.predictions} forecasts of ${month}, each as of the evening before:\nWAPE ${percent(scored.model)} against ${percent(scored.naive)} of the same weekday last week: ${percent(gain(scored))} better.`,
    );
  };

  await putRule(parts);
  const fresh = new Map<string, string>();
  const drop = async (name: string, path = freshPath(act, name)) => {
    fresh.set(name, path);
    await api.drop(path, await readFile(join(files, `${name}.csv`)));
    return path;
  };
  let known: string = FIRST.lastDay;
  const before = monthBefore(act);
  if (before) known = lastDayOf(before);
  for (const [index, month] of act.months.entries()) {
    await forecast(month, known);
    if (index === act.months.length - 1) {
      const names = [`${month}.bad`, `${month}.leak`] as const;
      const [bad, leak] = [await drop(names[0]), await drop(names[1])];
      tell.line(`Dropped ${bad} (counts below zero, a week missing) and ${leak} (a leak).`);
      for (const [name, path, words] of [
        [names[0], bad, ['negative', 'days are missing']],
        [names[1], leak, ['leaks']],
      ] as const) {
        const ended = await endOf(parts, path);
        const reason = refusal(ended.reason ?? '');
        drops.push({ drop: name, outcome: outcomeOf(ended), retraining: ended.id, reason });
        tell.line(`${name}: ${ended.state}. ${reason}`);
        const told = words.every((word) => reason.includes(word));
        claim(`${name} is refused, and the run says why`, ended.state === 'refused' && told);
      }
      const champion = await api.champion(act.model);
      claim('what is refused moves no alias', champion?.version === version);
    }
    const path = await drop(month);
    tell.line(`Dropped ${path}: its arrival starts the machine 'retraining'.`);
    const chaos = parts.chaos && index === 0;
    const { ended, run, carriedOn } = await retrain(parts, path, chaos);
    seconds.firstRetrain ||= tell.seconds();
    if (chaos)
      claim('after SIGKILL the run carries on, and does nothing twice', carriedOn === true);
    const row = rowOf(month, ended, run);
    drops.push(row);
    tell.line(verdict(row));
    claim(`${month} retrains`, row.outcome === 'promoted' || row.outcome === 'kept');
    if (row.outcome === 'promoted' && row.version !== undefined) {
      version = row.version;
      const moved = await api.champion(act.model);
      claim(`the alias champion is on version ${version}`, moved?.version === version);
      await answers(parts, version);
    }
    if (index === 0) {
      await drop(month, path);
      drops.push({ drop: `${month}, sent again`, outcome: 'nothing new' });
      tell.line(`Sent the same bytes to ${path} again: nothing new, so nothing starts.`);
    }
    known = lastDayOf(month);
  }
  if (act.next) await forecast(act.next, known);
  await once(parts, [...fresh.values()], claim);
  await beaten(parts, served.at(-1), claim);
  return { drops, served, claims, seconds };
}

/** The month before the act's first, if that was dropped in an earlier act. */
function monthBefore({ months: [first] }: Act): string | undefined {
  if (first === undefined || first === '2013-07') return undefined;
  return `2013-${String(Number(first.slice(5)) - 1).padStart(2, '0')}`;
}

async function firstTraining(parts: PlayParts, drops: DropRow[]): Promise<number> {
  const { api, python, tell, act, files } = parts;
  const champion = await api.champion(act.model);
  if (champion) {
    tell.line(`The champion is version ${champion.version} of '${act.model}'.`);
    return champion.version;
  }
  const path = `${act.first}/${FIRST.name}.csv`;
  await api.drop(path, await readFile(join(files, `${FIRST.name}.csv`)));
  tell.line(`Stored ${path}; the kfp client uploads the pipeline and runs it.`);
  const names = ['--accepted', act.accepted, '--model', act.model];
  let watched: Promise<unknown> | undefined;
  const ended = await python.run('first_run.py', [api.url, path, ...names], (line) => {
    const run = /"run": "([0-9a-f-]+)"/.exec(line)?.[1];
    if (run !== undefined) watched ??= watch(parts, run).catch(() => undefined);
  });
  await watched;
  const { version } = Trained.parse(ended);
  const { tags = {} } = (await api.champion(act.model)) ?? {};
  const [after, naive] = [Number(tags['wape']), Number(tags['naive_wape'])];
  drops.push({ drop: FIRST.name, outcome: 'trained', version, after, naive });
  tell.line(
    `Version ${version} (${tags['kind']}, trained until ${tags['trained_until']}) has the alias champion.`,
  );
  return version;
}

/** Waits until the endpoint, which follows the alias, answers with that version. */
async function answers({ api, tell, act }: PlayParts, version: number): Promise<void> {
  await until(`endpoint ${act.model} on version ${version}`, DEPLOY_SECONDS, async () => {
    const found = await api.endpoint(act.model);
    if (found.state === 'failed') throw new Error(`the endpoint failed: ${found.failure}`);
    return (found.state === 'in-service' && found.version === version) || undefined;
  });
  tell.line(`The endpoint '${act.model}' answers with version ${version}.`);
}

async function putRule({ api, tell, act }: PlayParts): Promise<void> {
  const { model, accepted } = act;
  await api.put(`/api/rules/${act.rule}`, {
    on: { data: { prefix: `${act.drops}/` } },
    start: {
      machine: 'retraining',
      pipeline: model,
      parameters: { path: '$.data.path', accepted, model_name: model },
      gate: {
        model,
        metric: 'wape',
        direction: 'lower',
        minimumImprovement: 0.01,
        version: 'register.Output',
        after: 'evaluate.wape',
        before: 'evaluate.champion_wape',
      },
    },
  });
  tell.line(`The rule '${act.rule}' retrains on whatever arrives below ${act.drops}/.`);
}

const retrainingsOf = async (api: Api, path: string) =>
  (await api.retrainings()).filter(({ cause }) => cause?.subject === `data/${path}`);

const endOf = ({ api }: PlayParts, path: string): Promise<Retraining> =>
  until(`the retraining of ${path}`, TRAIN_SECONDS, async () =>
    (await retrainingsOf(api, path)).find(({ state }) => state !== 'running'),
  );

/** Follows a drop's retraining to its end; in between, if asked, the server dies and comes back. */
async function retrain(parts: PlayParts, path: string, chaos: boolean) {
  const { api } = parts;
  const runId = await until(`the run of ${path}`, DEPLOY_SECONDS, async () =>
    (await retrainingsOf(api, path)).map((one) => one.runId).find((id) => id !== undefined),
  );
  const { run, carriedOn } = await watch(parts, runId, chaos);
  return { ended: await endOf(parts, path), run, carriedOn };
}

const ENDED = new Set(['SUCCEEDED', 'FAILED', 'CANCELED', 'SKIPPED']);
const tasksOf = (run: Run) => run.run_details?.task_details ?? [];
const endedIn = (run: Run) => tasksOf(run).filter(({ state }) => ENDED.has(state));

/** Tells of each task as it ends. `carriedOn`: the run succeeded and no task that had ended ran again. */
async function watch(parts: PlayParts, runId: string, chaos = false) {
  const { api, tell, server } = parts;
  const told = new Set<string>();
  let cut: Run | undefined;
  const run = await until(`run ${runId}`, TRAIN_SECONDS, async () => {
    const seen = await api.run(runId);
    for (const task of endedIn(seen)) {
      if (told.has(task.display_name)) continue;
      told.add(task.display_name);
      const ms = Date.parse(task.end_time ?? '') - Date.parse(task.start_time ?? '');
      const mark = task.state === 'SUCCEEDED' ? '' : ` ${task.state.toLowerCase()}`;
      tell.part(`${task.display_name}${mark} ${(ms / 1000).toFixed(1)} s`);
    }
    const training = tasksOf(seen).filter(
      ({ display_name, state }) => display_name.startsWith('train-') && state === 'RUNNING',
    );
    if (chaos && !cut && training.length) {
      cut = seen;
      const names = training.map(({ display_name }) => display_name).join(', ');
      tell.line(`Killing the server (SIGKILL) while ${names} run ...`);
      const ms = await server.crash();
      tell.line(`... it is back after ${(ms / 1000).toFixed(1)} s, and the run goes on.`);
    }
    return ENDED.has(seen.state) ? seen : undefined;
  });
  const same = cut && endedIn(cut).every((task) => isAsBefore(task, run));
  const carriedOn = same === true && run.state === 'SUCCEEDED';
  return { run, carriedOn };
}

const isAsBefore = (task: ReturnType<typeof tasksOf>[number], run: Run) =>
  tasksOf(run).filter(
    ({ display_name, start_time, end_time }) =>
      display_name === task.display_name &&
      start_time === task.start_time &&
      end_time === task.end_time,
  ).length === 1;

const outcomeOf = ({ state }: Retraining): DropRow['outcome'] =>
  state === 'running' ? 'failed' : state;

function rowOf(drop: string, ended: Retraining, run: Run): DropRow {
  const { version, before, after } = ended.decision ?? {};
  const naive = tasksOf(run).find(({ display_name }) => display_name === 'evaluate')
    ?.output_parameters['naive_wape'];
  return {
    drop,
    outcome: outcomeOf(ended),
    retraining: ended.id,
    ...(version === undefined ? {} : { version }),
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
    ...(typeof naive === 'number' ? { naive } : {}),
    ...(ended.reason === undefined ? {} : { reason: ended.reason }),
  };
}

function verdict({ drop, outcome, version, before, after, reason }: DropRow): string {
  if (before === undefined || after === undefined) return `${drop}: ${outcome}. ${reason ?? ''}`;
  const compared = `WAPE ${percent(after)} against ${percent(before)} of the champion, on days that neither was trained on`;
  return outcome === 'promoted'
    ? `${drop}: version ${version} is promoted. ${compared}.`
    : `${drop}: the champion is kept. ${compared}.`;
}

/** The sentence of validation, without what surrounds it in the task's error. */
const refusal = (reason: string) => /The drop .* is refused: .*/.exec(reason)?.[0] ?? reason;

async function once(
  { api, act }: PlayParts,
  paths: readonly string[],
  claim: (text: string, held: boolean) => void,
): Promise<void> {
  const all = await api.retrainings();
  const firings = await api.firings(act.rule);
  const causes = new Set<string>();
  const single = paths.every((path) => {
    const own = all.filter(({ cause }) => cause?.subject === `data/${path}`);
    const fired = firings.filter(
      ({ outcome, cause }) => outcome === 'started' && cause.subject === `data/${path}`,
    );
    for (const { cause } of own) if (cause) causes.add(cause.id);
    return own.length === 1 && fired.length === 1;
  });
  claim('each drop starts exactly one retraining', single && causes.size === paths.length);
}

async function beaten(
  { api, tell, act }: PlayParts,
  last: ServedRow | undefined,
  claim: (text: string, held: boolean) => void,
): Promise<void> {
  const champion = await api.champion(act.model);
  const [model, naive] = [Number(champion?.tags['wape']), Number(champion?.tags['naive_wape'])];
  const better = gain({ model, naive });
  tell.line(
    `Version ${champion?.version} beats the same weekday last week by ${percent(better)} on the 28 days after its training cut.`,
  );
  claim('the champion beats seasonal-naive by 10 % after its training cut', better >= MINIMUM_GAIN);
  if (last && last.version === champion?.version)
    claim(`and by 10 % in ${last.month}, asked by its endpoint`, gain(last) >= MINIMUM_GAIN);
}

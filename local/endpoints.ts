import { mkdir, readdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Call } from '../functions/kernel/call.ts';
import { Problem } from '../functions/kernel/problem.ts';
import type { World } from '../functions/kernel/world.ts';
import { checkEndpointSpec, checkName } from '../functions/platform/job_spec.ts';
import type { Blobs, EndpointSpec, Endpoints } from '../functions/platform/ports.ts';
import { type Endpoint, openEndpoint } from './endpoint.ts';
import type { CommandFor } from './endpoint_copy.ts';
import type { Interpreter } from './job_env.ts';
import { readPid, readRecord, writeRecord } from './job_folder.ts';
import { readLines } from './job_metrics.ts';
import { limiter } from './limiter.ts';
import { isAlive, passedOn, signalGroup } from './processes.ts';
import { removeTree } from './remove_tree.ts';

export interface LocalEndpointsOptions {
  readonly world: World;
  /** `DATA/endpoints`: ours alone. */
  readonly dir: string;
  readonly blobs: Pick<Blobs, 'pathOf'>;
  /** What to run for a model; `pythonServer` for MLmodel folders. */
  readonly commandFor: CommandFor;
  readonly log: (line: Record<string, unknown>) => void;
  readonly hostEnv?: NodeJS.ProcessEnv;
  /** 120 s if absent: a model may be large. */
  readonly startTimeoutMs?: number;
  /** Between SIGTERM and SIGKILL; 10 s if absent. */
  readonly graceMs?: number;
}

export interface LocalEndpoints extends Endpoints {
  /** Resolves when the endpoints of an earlier server are known, and none of its model servers is left. */
  readonly ready: Promise<void>;
  /** Stops every model server. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 25 << 20;

/**
 * Endpoints as model servers on loopback, one folder each (endpoint.ts). No model server outlives us: each hangs on
 * a pipe of ours (wrapper.ts, TETHER), and what a killed server might have left is ended by pid and start time.
 */
export function localEndpoints(options: LocalEndpointsOptions): LocalEndpoints {
  const open = new Map<string, Endpoint>();
  /** Deploys and removals of one name take turns. */
  const turns = new Map<string, Promise<unknown>>();
  const gate = limiter(Math.max(1, availableParallelism()));
  const hostEnv = options.hostEnv ?? process.env;
  let closed = false;

  const folderOf = (call: Pick<Call, 'workspace'>, name: string) =>
    join(options.dir, call.workspace, name);

  function begin(folder: string, spec: EndpointSpec, served: EndpointSpec | undefined): Endpoint {
    const endpoint = openEndpoint(
      {
        world: options.world,
        folder,
        log: options.log,
        gate,
        commandFor: options.commandFor,
        startTimeoutMs: options.startTimeoutMs ?? 120_000,
        graceMs: options.graceMs ?? 10_000,
        env: {
          ...passedOn(hostEnv),
          PATH: hostEnv['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
          LANG: 'C.UTF-8',
          PYTHONUNBUFFERED: '1',
          MLFLOW_DISABLE_TELEMETRY: 'true',
        },
      },
      spec,
      served,
    );
    open.set(folder, endpoint);
    return endpoint;
  }

  async function recover(): Promise<void> {
    for (const workspace of await list(options.dir))
      for (const name of await list(join(options.dir, workspace))) {
        const folder = join(options.dir, workspace, name);
        await endLeftovers(folder);
        const spec = await readRecord<EndpointSpec>(join(folder, 'spec.json'));
        const served = await readRecord<EndpointSpec>(join(folder, 'serving.json'));
        if (spec && !closed) begin(folder, spec, served);
        else if (!spec) await removeTree(folder);
      }
  }
  const ready = recover();

  function inTurn<T>(folder: string, act: () => Promise<T>): Promise<T> {
    const turn = (turns.get(folder) ?? Promise.resolve()).then(act, act);
    const settled = turn.catch(() => {});
    turns.set(folder, settled);
    settled.then(() => {
      if (turns.get(folder) === settled) turns.delete(folder);
    });
    return turn;
  }

  return {
    ready,
    async deploy(call, spec) {
      checkEndpointSpec(spec);
      if (options.blobs.pathOf(call, spec.modelUri) === undefined)
        throw new Problem('invalid', `${spec.modelUri} is not in this workspace.`, {
          field: 'modelUri',
        });
      await ready;
      const folder = folderOf(call, spec.name);
      await inTurn(folder, async () => {
        const known = open.get(folder);
        if (known) return known.deploy(spec);
        await mkdir(folder, { recursive: true });
        await writeRecord(join(folder, 'spec.json'), spec);
        begin(folder, spec, undefined);
      });
    },
    async describe(call, name) {
      checkName(name);
      await ready;
      return open.get(folderOf(call, name))?.status();
    },
    async invoke(call, name, request) {
      checkName(name);
      await ready;
      const endpoint = open.get(folderOf(call, name));
      if (!endpoint) throw new Problem('missing', `Endpoint '${name}' not found.`);
      if (request.path !== '/invocations' && request.path !== '/ping')
        throw new Problem('invalid', 'A model server answers /invocations and /ping.', {
          field: 'path',
        });
      if (request.body.byteLength > MAX_BODY_BYTES)
        throw new Problem('too_large', `The body is larger than ${MAX_BODY_BYTES} bytes.`);
      return endpoint.ask(request, call.deadline);
    },
    async remove(call, name, until) {
      checkName(name);
      await ready;
      const folder = folderOf(call, name);
      await inTurn(folder, async () => {
        const endpoint = open.get(folder);
        if (!endpoint || (until !== undefined && endpoint.status().target > until)) return;
        open.delete(folder);
        // Without its spec the folder is no endpoint any more, whatever comes next.
        await rm(join(folder, 'spec.json'), { force: true });
        await endpoint.close();
        await removeTree(folder);
      });
    },
    async logs(call, name, after) {
      checkName(name);
      await ready;
      return readStarts(join(folderOf(call, name), 'starts'), after);
    },
    async close() {
      closed = true;
      await ready.catch(() => {});
      await Promise.all([...open.values()].map((endpoint) => endpoint.close()));
    },
  };
}

/** Serves MLmodel folders by runtimes/model_server in the pinned Python. */
export function pythonServer(
  interpreter: () => Promise<Interpreter>,
  serverFile: string,
): CommandFor {
  return async (spec, ready) => {
    const { bin, env } = await interpreter();
    const command = [join(bin, 'python3'), serverFile, spec.modelUri, '--ready', ready];
    return { command, env };
  };
}

const list = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

async function endLeftovers(folder: string): Promise<void> {
  const starts = join(folder, 'starts');
  for (const start of await list(starts)) {
    const process = await readPid(join(starts, start));
    if (process && isAlive(process)) signalGroup(process.pid, 'SIGKILL');
  }
}

/** The logs of all starts that are kept, one after the other; `next` is the start's number and the byte in its log. */
async function readStarts(
  folder: string,
  after: string | undefined,
): Promise<{ lines: string[]; next: string }> {
  let [start = 0, offset = 0] = (after ?? '').split(':').map((text) => Number(text) || 0);
  const lines: string[] = [];
  const starts = (await list(folder)).map(Number).sort((a, b) => a - b);
  const newest = starts.at(-1);
  for (const one of starts.filter((number) => number >= start)) {
    if (one !== start) [start, offset] = [one, 0];
    const read = await readLines(join(folder, String(one), 'log'), offset, one !== newest);
    lines.push(...read.lines);
    offset = read.next;
    if (lines.length >= 1000) break;
  }
  return { lines, next: `${start}:${offset}` };
}

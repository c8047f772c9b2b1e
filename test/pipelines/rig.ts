import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Hono } from 'hono';
import { mount } from '../../functions/kernel/hallway.ts';
import type { Json } from '../../functions/kernel/json.ts';
import type { Problem } from '../../functions/kernel/problem.ts';
import type { ReadDocument } from '../../functions/pipelines/document.ts';
import { pipelinesRoom } from '../../functions/pipelines/index.ts';
import type { RunsImage } from '../../functions/pipelines/parts.ts';
import type { PipelinesService } from '../../functions/pipelines/service.ts';
import type { Job, JobSpec, Jobs, Platform } from '../../functions/platform/ports.ts';
import { type TrackingService, trackingService } from '../../functions/tracking/service.ts';
import { stepTokensOf } from '../../functions/workspaces/index.ts';
import type { Integration } from '../../local/asl/engine.ts';
import { MachineError } from '../../local/asl/errors.ts';
import { openBlobs } from '../../local/blobs.ts';
import { openBus } from '../../local/bus.ts';
import { type LocalMachines, localMachines } from '../../local/machines.ts';
import { openTable } from '../../local/table.ts';
import { RUN_STEP, TRAINING_JOB } from '../../statemachines/resources.ts';
import { type TestWorld, testCall, testWorld } from '../world.ts';

export const call = testCall();

/** What the launcher's task file says. Source: runtimes/launcher/README.md. */
export interface TaskFile {
  readonly executorInput: {
    readonly inputs: {
      readonly parameterValues?: Record<string, Json>;
      readonly artifacts?: Record<string, { artifacts: { uri: string; metadata: Json }[] }>;
    };
    readonly outputs: {
      readonly parameters?: Record<string, { outputFile: string }>;
      readonly artifacts?: Record<
        string,
        { artifacts: { name: string; uri: string; type: Json; metadata: Json }[] }
      >;
    };
  };
  readonly component: {
    readonly outputDefinitions: { readonly parameters: Record<string, unknown> };
  };
  readonly command: string[];
  readonly args: string[];
  readonly constants: Record<string, string>;
  readonly env: Record<string, string>;
  readonly result: string;
}

/** What a step leaves: outputs by name, or a failure. `hang` never ends by itself. */
export interface Left {
  readonly parameters?: Record<string, Json>;
  /** Text of the file, and metadata. */
  readonly artifacts?: Record<string, { text?: string; metadata?: Record<string, Json> }>;
  readonly fail?: string;
  readonly hang?: boolean;
}
/** By the step's title in the spec; `tries` counts from 0 over all jobs of that step. */
export type Steps = (step: { name: string; file: TaskFile; spec: JobSpec; tries: number }) => Left;

export interface PipelineRig {
  readonly app: Hono;
  readonly service: PipelinesService;
  readonly room: ReturnType<typeof pipelinesRoom>;
  readonly tracking: TrackingService;
  readonly platform: Platform;
  readonly machines: LocalMachines;
  readonly world: TestWorld;
  /** Every job that ran, in order. */
  readonly ran: { name: string; file: TaskFile; spec: JobSpec }[];
  readonly stopped: string[];
  readonly logged: Record<string, unknown>[];
  /** Waits for a condition, with a deadline, without sleeping for a fixed time. */
  until<T>(look: () => Promise<T | undefined | false>): Promise<T>;
  json(method: string, path: string, body?: unknown): Promise<{ status: number; body: Answer }>;
  /** Creates a run and waits until it has ended. */
  run(spec: unknown, parameters?: Record<string, unknown>, name?: string): Promise<Answer>;
  ended(runId: string): Promise<Answer>;
  close(): Promise<void>;
}
// biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field.
export type Answer = any;

const DEADLINE_MS = 15_000;

/** The room on the local ports, with jobs that replay what `steps` says instead of running anything. */
export async function pipelineRig(
  steps: Steps = () => ({}),
  options: {
    runsImage?: RunsImage;
    /** What the start of an execution is refused with, if it is. */
    startRefused?: (execution: string) => Problem | undefined;
    tokens?: boolean;
    readDocument?: ReadDocument;
  } = {},
): Promise<PipelineRig> {
  const folder = await mkdtemp(join(tmpdir(), 'stillflow-kfp-'));
  const world = testWorld();
  const secret = new Uint8Array(32).fill(7);
  const table = openTable({ folder: join(folder, 'table'), world, noSync: true });
  const url = 'http://127.0.0.1:5000';
  const blobs = openBlobs({ folder: join(folder, 'blobs'), world, secret, url });
  const logged: Record<string, unknown>[] = [];
  const log = (line: Record<string, unknown>) => void logged.push(line);
  const soon = {
    // No test waits for a clock: a timer rings at once, and moves the world's clock to its time.
    at(time: number, callback: () => void) {
      const handle = setImmediate(() => {
        world.pass(Math.max(0, time - world.now()));
        callback();
      });
      return () => clearImmediate(handle);
    },
  };
  const machines = localMachines({ table, world, written: {}, timers: soon, log });
  const { jobs, start, ran, stopped } = replay(steps, world);
  const platform: Platform = {
    world,
    table,
    blobs,
    machines: {
      ...machines,
      async start(...asked) {
        const refusal = options.startRefused?.(asked[2]);
        if (refusal) throw refusal;
        await machines.start(...asked);
      },
    },
    jobs,
    endpoints: {} as Platform['endpoints'],
    secret,
    url,
    artifacts: 'proxy',
  };
  const tracking = trackingService(platform);
  const room = pipelinesRoom(platform, {
    tracking,
    runsImage: options.runsImage ?? (() => ({ ok: true })),
    log,
    ...(options.readDocument ? { readDocument: options.readDocument } : {}),
    ...(options.tokens ? { stepTokens: stepTokensOf(platform) } : {}),
  });
  const bus = openBus({ table, world, followers: room.followers, folders: [], log });
  bus.start();
  await machines.serve({
    tasks: room.tasks,
    functions: { [RUN_STEP]: start },
    integrations: { [TRAINING_JOB]: start },
    workspaces: [call.workspace],
  });
  const app = mount(room.routes, {
    world,
    guard: () => url,
    authenticate: async () => ({ workspace: call.workspace, caller: call.caller }),
    checkTenant: () => undefined,
    allow: () => true,
    repeated: (asked, retry) => table.repeated({ ...asked, retry }),
    refused: async () => undefined,
    log,
  });

  const until: PipelineRig['until'] = async (look) => {
    const end = Date.now() + DEADLINE_MS;
    for (;;) {
      const found = await look();
      if (found) return found;
      if (Date.now() > end)
        throw new Error(`it never came to pass; logged: ${JSON.stringify(logged).slice(0, 3000)}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const json: PipelineRig['json'] = async (method, path, body) => {
    const answer = await app.request(path, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : undefined };
  };
  const ended: PipelineRig['ended'] = (runId) =>
    until(async () => {
      const { body } = await json('GET', `/apis/v2beta1/runs/${runId}`);
      return ['SUCCEEDED', 'FAILED', 'CANCELED'].includes(body.state) && body;
    });
  return {
    app,
    service: room.service,
    room,
    tracking,
    platform,
    machines,
    world,
    ran,
    stopped,
    logged,
    until,
    json,
    ended,
    async run(spec, parameters = {}, name = 'a run') {
      const made = await json('POST', '/apis/v2beta1/runs', {
        display_name: name,
        pipeline_spec: spec,
        runtime_config: { parameters },
      });
      if (made.status !== 200) throw new Error(JSON.stringify(made.body));
      return ended(made.body.run_id);
    },
    async close() {
      await bus.stop();
      await machines.close();
      await table.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A Jobs port that does what the launcher would do, from `steps` instead of a command. */
function replay(steps: Steps, world: TestWorld) {
  const specs = new Map<string, JobSpec>();
  const done = new Map<string, Job>();
  const ran: PipelineRig['ran'] = [];
  const stopped: string[] = [];
  const tries = new Map<string, number>();

  async function perform(name: string, signal: AbortSignal): Promise<void> {
    const spec = specs.get(name);
    if (!spec) throw new Error(`job ${name} was never prepared`);
    const file: TaskFile = JSON.parse(await readFile(spec.command[1] ?? '', 'utf8'));
    const step = (spec.command[1] ?? '').split('/').at(-3) ?? '';
    ran.push({ name: step, file, spec });
    const nth = tries.get(step) ?? 0;
    tries.set(step, nth + 1);
    done.set(name, { name, state: 'running', metrics: [], startedAt: world.now() });
    const left = steps({ name: step, file, spec, tries: nth });
    if (left.hang)
      await new Promise((_, reject) => {
        const stop = () => reject(new MachineError('States.TaskFailed', 'stopped'));
        if (signal.aborted) stop();
        signal.addEventListener('abort', stop);
      });
    const artifacts: Record<string, unknown> = {};
    for (const [key, { artifacts: [planned] = [] }] of Object.entries(
      file.executorInput.outputs.artifacts ?? {},
    )) {
      if (!planned) continue;
      const { text, metadata = {} } = left.artifacts?.[key] ?? {};
      if (text !== undefined) {
        await mkdir(dirname(planned.uri), { recursive: true });
        await writeFile(planned.uri, text);
      }
      artifacts[key] = { artifacts: [{ ...planned, metadata }] };
    }
    const state = left.fail === undefined ? 'succeeded' : 'failed';
    const result = {
      format: 1,
      state,
      exitCode: left.fail === undefined ? 0 : 1,
      error: left.fail ?? '',
      parameterValues: left.parameters ?? {},
      artifacts,
    };
    await mkdir(dirname(file.result), { recursive: true });
    await writeFile(file.result, JSON.stringify(result));
    done.set(name, { name, state, metrics: [], endedAt: world.now() });
    if (left.fail !== undefined) throw new MachineError('Job.Failed', left.fail);
  }

  const start: Integration = async (_call, args, _context, signal) => {
    const { TrainingJobName: name } = args as { TrainingJobName: string };
    const before = done.get(name);
    if (before?.state === 'succeeded') return { name };
    if (before?.state === 'failed') throw new MachineError('Job.Failed', 'it failed before');
    await perform(name, signal);
    return { name };
  };
  const jobs: Jobs = {
    submit: () => Promise.reject(new Error('machines start jobs')),
    async prepare(_call, spec) {
      if (!specs.has(spec.name)) specs.set(spec.name, spec);
      return { TrainingJobName: spec.name };
    },
    describe: async (_call, name) => done.get(name),
    async stop(_call, name) {
      stopped.push(name);
    },
    logs: async (_call, name, after) =>
      after ? { lines: [], next: after } : { lines: [`log of ${name}`], next: '1' },
  };
  return { jobs, start, ran, stopped };
}

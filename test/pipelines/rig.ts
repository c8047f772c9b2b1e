import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Json } from '../../functions/kernel/json.ts';
import type { Problem } from '../../functions/kernel/problem.ts';
import type { ReadDocument } from '../../functions/pipelines/document.ts';
import { pipelinesRoom } from '../../functions/pipelines/index.ts';
import type { RunsImage } from '../../functions/pipelines/parts.ts';
import type { Job, JobSpec, Jobs } from '../../functions/platform/ports.ts';
import { trackingOver } from '../../functions/wire.ts';
import { stepTokensOf } from '../../functions/workspaces/index.ts';
import type { Integration } from '../../local/asl/engine.ts';
import { MachineError } from '../../local/asl/errors.ts';
import { type Ground, type House, type HouseOptions, openHouse } from '../house.ts';

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
export type Steps = (step: {
  name: string;
  file: TaskFile;
  spec: JobSpec;
  tries: number;
}) => Left | Promise<Left>;

// biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field.
export type Answer = any;

export type PipelineRig = ReturnType<typeof pipelineRig>;
interface RigOptions extends Pick<HouseOptions, 'ends'> {
  readonly runsImage?: RunsImage;
  /** What the start of an execution is refused with, if it is. */
  readonly startRefused?: (execution: string) => Problem | undefined;
  readonly tokens?: boolean;
  readonly readDocument?: ReadDocument;
}

/** The room in a house, with jobs that replay what `steps` says instead of running anything. */
export function pipelineRig(steps: Steps = () => ({}), options: RigOptions = {}) {
  const { runsImage = () => ({ ok: true }), startRefused, tokens, readDocument, ends } = options;
  const { jobs, job, ran, stopped } = replay(steps);
  const refusing = ({ machines }: Ground): Ground['machines'] => ({
    ...machines,
    async start(...asked) {
      const refusal = startRefused?.(asked[2]);
      if (refusal) throw refusal;
      await machines.start(...asked);
    },
  });
  const build = (ground: Ground) => {
    const tracking = trackingOver(ground);
    const pipelines = pipelinesRoom(ground, {
      tracking: tracking.service,
      runsImage,
      log: (line) => void home.logged.push(line),
      ...(readDocument ? { readDocument } : {}),
      ...(tokens ? { stepTokens: stepTokensOf(ground) } : {}),
    });
    return { tracking, pipelines };
  };
  const home: House<ReturnType<typeof build>> = openHouse(build, {
    ports: (own) => ({ jobs, machines: refusing(own) }),
    job,
    ...(ends ? { ends } : {}),
  });
  const ended = (runId: string): Promise<Answer> =>
    home.until(async () => {
      const { body } = await home.ask('GET', `/apis/v2beta1/runs/${runId}`);
      return ['SUCCEEDED', 'FAILED', 'CANCELED'].includes(body.state) && body;
    });
  return {
    ...home,
    service: home.rooms.pipelines.service,
    runs: home.rooms.tracking.service,
    ran,
    stopped,
    ended,
    /** Creates a run and waits until it has ended. */
    async run(spec: unknown, parameters = {}, name = 'a run'): Promise<Answer> {
      const made = await home.ask('POST', '/apis/v2beta1/runs', {
        display_name: name,
        pipeline_spec: spec,
        runtime_config: { parameters },
      });
      if (made.status !== 200) throw new Error(made.text);
      return ended(made.body.run_id);
    },
  };
}

/** A Jobs port that does what the launcher would do, from `steps` instead of a command. */
export function replay(steps: Steps) {
  const specs = new Map<string, JobSpec>();
  const done = new Map<string, Job>();
  /** Every job that ran, in order. */
  const ran: { name: string; file: TaskFile; spec: JobSpec }[] = [];
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
    done.set(name, { name, state: 'running', metrics: [] });
    const left = await steps({ name: step, file, spec, tries: nth });
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
    done.set(name, { name, state, metrics: [] });
    if (left.fail !== undefined) throw new MachineError('Job.Failed', left.fail);
  }

  const job: Integration = async (_call, args, _context, signal) => {
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
  return { jobs, job, ran, stopped };
}

import type { Call } from '../../kernel/call.ts';
import type { Json } from '../../kernel/json.ts';
import type { JobSpec, Platform } from '../../platform/ports.ts';
import type { PlannedTask } from '../compiler/plan.ts';
import type { Artifact, Run, TaskRecord } from '../model.ts';
import type { PipelinesStore } from '../store.ts';
import { constantsOf } from './inputs.ts';
import { rootOf, stepFolder } from './step.ts';

const LAUNCHER = 'stillflow-launcher';

/**
 * The jobs that a started task may need, one a try: for each the launcher's task file and the job itself, under names
 * that follow from the record, so that doing it again changes nothing. Answers what the machine passes on.
 * Source: runtimes/launcher/README.md; kfp.md section 3.2.
 */
export async function prepareJobs(
  call: Call,
  platform: Platform,
  store: PipelinesStore,
  run: Run,
  task: PlannedTask,
  record: TaskRecord,
  token: string | undefined,
): Promise<Json[]> {
  const { blobs, jobs, url } = platform;
  const parameters = await store.values(call, record.inputs.parameters);
  const env = {
    MLFLOW_TRACKING_URI: url,
    ...(record.tracking
      ? {
          MLFLOW_RUN_ID: record.tracking.runId,
          MLFLOW_EXPERIMENT_ID: record.tracking.experimentId,
        }
      : {}),
    ...(token === undefined ? {} : { MLFLOW_TRACKING_TOKEN: token }),
  };
  const prepared: Json[] = [];
  for (const [index, name] of record.jobs.entries()) {
    const folder = stepFolder(run, task.id, index);
    const file = {
      format: 1,
      executorInput: executorInput(
        task,
        parameters,
        record.inputs.artifacts,
        `${rootOf(blobs, call, run)}/${task.id}/${run.attempt}-${index}`,
      ),
      component: task.definitions,
      command: task.container.command,
      args: task.container.args,
      constants: constantsOf(run, task, rootOf(blobs, call, run)),
      env: task.container.env,
      result: blobs.locate(call, `${folder}/executor_output.json`),
    };
    await blobs.put(call, `${folder}/task.json`, Buffer.from(JSON.stringify(file)));
    const spec: JobSpec = {
      name,
      ...(task.container.image === ''
        ? { interpreter: 'python' as const }
        : { image: task.container.image }),
      command: [LAUNCHER, blobs.locate(call, `${folder}/task.json`)],
      env,
      inputs: [],
      outputs: [],
      resources: task.resources,
      nodes: 1,
      deadlineSeconds: task.deadlineSeconds,
    };
    prepared.push(await jobs.prepare(call, spec));
  }
  return prepared;
}

function executorInput(
  task: PlannedTask,
  parameters: Readonly<Record<string, Json>>,
  artifacts: Readonly<Record<string, Artifact>>,
  root: string,
) {
  const { outputDefinitions: outputs } = task.definitions;
  const listed = ({ name, uri, type, metadata }: Omit<Artifact, 'identity' | 'present'>) => ({
    artifacts: [{ name, uri, type, metadata }],
  });
  return {
    inputs: {
      ...(Object.keys(parameters).length ? { parameterValues: parameters } : {}),
      ...unlessEmpty('artifacts', mapped(artifacts, listed)),
    },
    outputs: {
      ...unlessEmpty(
        'parameters',
        mapped(outputs.parameters, (_, name) => ({ outputFile: `/tmp/kfp/outputs/${name}` })),
      ),
      ...unlessEmpty(
        'artifacts',
        mapped(outputs.artifacts, ({ artifactType, metadata }, name) =>
          listed({ name, uri: `${root}/${name}`, type: artifactType, metadata }),
        ),
      ),
      outputFile: `${root}/output_metadata.json`,
    },
  };
}

const mapped = <T, U>(record: Readonly<Record<string, T>>, to: (item: T, name: string) => U) =>
  Object.fromEntries(Object.entries(record).map(([name, item]) => [name, to(item, name)]));
const unlessEmpty = <T>(name: string, record: Readonly<Record<string, T>>) =>
  Object.keys(record).length ? { [name]: record } : {};

/** Pipelines of shell steps, which run natively on this machine: no Python, no image. */

export interface ShellTask {
  readonly name: string;
  readonly command: string;
  readonly after?: readonly string[];
}

/** The IR of a pipeline, as the kfp compiler would write it. */
export function shellPipeline(name: string, tasks: readonly ShellTask[]) {
  const of = <T>(make: (task: ShellTask) => readonly [string, T]) =>
    Object.fromEntries(tasks.map(make));
  return {
    pipelineInfo: { name },
    schemaVersion: '2.1.0',
    sdkVersion: 'kfp-2.14.6',
    components: of((task) => [`comp-${task.name}`, { executorLabel: `exec-${task.name}` }]),
    deploymentSpec: {
      executors: of((task) => [
        `exec-${task.name}`,
        { container: { image: 'alpine:3.20', command: ['sh', '-c', task.command] } },
      ]),
    },
    root: {
      dag: {
        tasks: of((task) => [
          task.name,
          {
            componentRef: { name: `comp-${task.name}` },
            taskInfo: { name: task.name },
            cachingOptions: {},
            ...(task.after?.length ? { dependentTasks: task.after } : {}),
          },
        ]),
      },
    },
  };
}

/** Starts a run of it and answers its id. */
export async function startRun(
  url: string,
  displayName: string,
  spec: ReturnType<typeof shellPipeline>,
): Promise<string> {
  const answer = await fetch(`${url}/apis/v2beta1/runs`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ display_name: displayName, pipeline_spec: spec, runtime_config: {} }),
  });
  const run = (await answer.json()) as { run_id?: string };
  if (!run.run_id) throw new Error(`${answer.status}: ${JSON.stringify(run)}`);
  return run.run_id;
}

/** The run's state, once `wanted` says that is it. */
export async function runState(
  url: string,
  id: string,
  wanted: (state: string) => boolean,
  timeoutMs = 30_000,
): Promise<string> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await fetch(`${url}/apis/v2beta1/runs/${id}`);
    const { state } = (await answer.json()) as { state: string };
    if (wanted(state)) return state;
    if (Date.now() > deadline) throw new Error(`run ${id} is still ${state}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

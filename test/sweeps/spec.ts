/** A step of a pipeline that runs a shell script; `$0` is its name. */
export interface ShellStep {
  readonly name: string;
  readonly script: string;
  readonly after?: readonly string[];
}

/** A compiled pipeline (KFP IR) of container steps, each given the pipeline's parameters as `$1`, `$2`, in order. */
export function shellPipeline(
  name: string,
  parameters: readonly string[],
  steps: readonly ShellStep[],
) {
  const definitions = {
    parameters: Object.fromEntries(parameters.map((each) => [each, { parameterType: 'STRING' }])),
  };
  const inputs = {
    parameters: Object.fromEntries(
      parameters.map((each) => [each, { componentInputParameter: each }]),
    ),
  };
  const entries = <T>(make: (step: ShellStep) => T, prefix = '') =>
    Object.fromEntries(steps.map((step) => [`${prefix}${step.name}`, make(step)]));
  return {
    schemaVersion: '2.1.0',
    sdkVersion: 'kfp-2.17.0',
    pipelineInfo: { name },
    components: entries(
      (step) => ({ executorLabel: `exec-${step.name}`, inputDefinitions: definitions }),
      'comp-',
    ),
    deploymentSpec: {
      executors: entries(
        (step) => ({
          container: {
            image: 'busybox',
            command: ['sh', '-c', step.script, step.name],
            args: parameters.map((each) => `{{$.inputs.parameters['${each}']}}`),
          },
        }),
        'exec-',
      ),
    },
    root: {
      inputDefinitions: definitions,
      dag: {
        tasks: entries((step) => ({
          taskInfo: { name: step.name },
          componentRef: { name: `comp-${step.name}` },
          cachingOptions: {},
          inputs,
          ...(step.after ? { dependentTasks: [...step.after] } : {}),
        })),
      },
    },
  };
}

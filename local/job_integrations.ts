import type { Json } from '../functions/kernel/json.ts';
import type { Job } from '../functions/platform/ports.ts';
import { PROCESSING_JOB, RUN_STEP, TRAINING_JOB } from '../statemachines/resources.ts';
import type { Integration } from './asl/engine.ts';
import { lambdaCause, MachineError } from './asl/errors.ts';
import type { LocalJobs } from './jobs.ts';

/**
 * What a machine's job states call here: they submit what `prepare` returned and wait for the end, so a repeated call
 * after a restart finds the job by its name. An aborted state stops its job.
 *
 * `stillflow-run-step` is a function: it takes the payload and returns one, and a failed step is the error
 * `StepFailed`, as the handler of runtimes/run_step_lambda raises it. The two `.sync` integrations take the whole
 * arguments, return what Describe would say, and fail as `States.TaskFailed` with that as their cause.
 */
export function jobIntegrations(jobs: LocalJobs): Readonly<Record<string, Integration>> {
  const sync =
    (kind: 'TrainingJob' | 'ProcessingJob'): Integration =>
    async (call, args, _context, signal) => {
      const named = args as Record<string, Json>;
      const name = named[`${kind}Name`];
      const job = await jobs.run(call, { job: name ?? null }, signal);
      const described = describeAs(kind, job);
      if (job.state === 'succeeded') return described;
      throw new MachineError('States.TaskFailed', JSON.stringify(described));
    };
  return {
    async [RUN_STEP](call, args, _context, signal) {
      const job = await jobs.run(call, args, signal);
      if (job.state === 'succeeded') return { job: job.name, exitCode: job.exitCode ?? 0 };
      const failure = job.failure ?? `The step ended as ${job.state}.`;
      throw new MachineError('StepFailed', lambdaCause('StepFailed', failure));
    },
    [TRAINING_JOB]: sync('TrainingJob'),
    [PROCESSING_JOB]: sync('ProcessingJob'),
  };
}

const STATUS = {
  pending: 'InProgress',
  running: 'InProgress',
  succeeded: 'Completed',
  failed: 'Failed',
  stopped: 'Stopped',
} as const satisfies Record<Job['state'], string>;

/** The fields of DescribeTrainingJob and DescribeProcessingJob that a machine may read. */
function describeAs(kind: 'TrainingJob' | 'ProcessingJob', job: Job): { [name: string]: Json } {
  return {
    [`${kind}Name`]: job.name,
    [`${kind}Status`]: STATUS[job.state],
    ...(job.failure === undefined ? {} : { FailureReason: job.failure }),
    ...(job.exitCode === undefined ? {} : { ExitCode: job.exitCode }),
    ...(kind === 'TrainingJob' && job.metrics.length
      ? {
          FinalMetricDataList: Object.entries(
            Object.fromEntries(job.metrics.map((metric) => [metric.name, metric])),
          ).map(([MetricName, { value, at }]) => ({ MetricName, Value: value, Timestamp: at })),
        }
      : {}),
  };
}

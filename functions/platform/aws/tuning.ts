import { createHash } from 'node:crypto';
import type {
  CreateHyperParameterTuningJobCommandInput,
  HyperParameterTrainingJobDefinition,
  ParameterRanges,
  TrainingInstanceType,
} from '@aws-sdk/client-sagemaker';
import { Problem } from '../../kernel/problem.ts';
import { checkJobSpec } from '../job_spec.ts';
import type { JobSpec } from '../ports.ts';
import { type Instance, instancesFor, noneFor } from './instances.ts';
import { cloudName } from './names.ts';
import { tagsOf } from './tags.ts';
import {
  channelsOf,
  conditionsOf,
  definitionsOf,
  imageOf,
  stoppingOf,
  type TrainingPlace,
  VOLUME_GB,
  volumeOf,
} from './training.ts';

/** The request for SageMaker's own tuning job as a pure function; golden in test/golden/requests. */

export type TunedParameter =
  | { readonly name: string; readonly values: readonly (string | number)[] }
  | {
      readonly name: string;
      readonly from: number;
      readonly to: number;
      readonly integer?: boolean;
      readonly scale?: 'linear' | 'log';
    };

export interface TuningSpec {
  readonly name: string;
  /** `grid` takes values only and tries every combination; `random` and `bayesian` take ranges too. */
  readonly strategy: 'grid' | 'random' | 'bayesian';
  readonly objective: { readonly metric: string; readonly goal: 'minimize' | 'maximize' };
  readonly parameters: readonly TunedParameter[];
  /** Trials in all, 1 to 750; a grid has as many as it has combinations. */
  readonly trials?: number;
  /** 1 to 100. */
  readonly parallel: number;
  readonly seed?: number;
  /** Without a name of its own. It finds a trial's parameters in `SM_HP_<NAME>`, and `SM_HPS` as JSON. */
  readonly trial: Omit<JobSpec, 'name'>;
}

/** Source: SageMaker developer guide, "Automatic model tuning", quotas (verify). */
const MOST = { trials: 750, parallel: 100, parameters: 30, values: 30 } as const;

/** A tuning job's name has 32 characters, of which a workspace leaves 20. */
export function tuningName(workspace: string, name: string): string {
  if (name.length <= 20) return cloudName(workspace, name);
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 8);
  return cloudName(workspace, `${name.slice(0, 11).replace(/-+$/, '')}-${digest}`);
}

/**
 * Trials run on a published image in script mode: an image of one's own has an entrypoint that only a training job can
 * replace. The toolkit in it copies the launcher and runs start.py, which finds a trial's parameters in the variables
 * that the toolkit sets. Throws `invalid`, naming the field.
 * Source: aws.md section 4.2; SageMaker API, CreateHyperParameterTuningJob. Not verified on an account.
 */
export function tuningRequest(
  spec: TuningSpec,
  place: TrainingPlace,
): CreateHyperParameterTuningJobCommandInput {
  check(spec);
  const { strategy, objective, parallel, seed, trials } = spec;
  const trial: JobSpec = { ...spec.trial, name: 'trial' };
  checkJobSpec(trial);
  if (trial.resources.runner !== undefined && trial.resources.runner !== 'sagemaker')
    throw refusal(spec, 'trial.resources.runner', 'must be sagemaker, or left out.');
  if (trial.image !== undefined && imageOf(trial, place.region) === trial.image)
    throw refusal(spec, 'trial.image', 'must be a python image: SageMaker tunes none of your own.');
  const image = imageOf({ ...trial, interpreter: 'python' }, place.region);
  const instances = instancesFor(trial.resources);
  if (instances.length === 0) throw refusal(spec, 'trial.resources', noneFor(trial.resources));
  const definition: HyperParameterTrainingJobDefinition = {
    AlgorithmSpecification: {
      TrainingImage: image,
      TrainingInputMode: 'File',
      ...definitionsOf(trial),
    },
    StaticHyperParameters: {
      sagemaker_program: 'start.py',
      sagemaker_submit_directory: '/opt/ml/input/data/stillflow',
      sagemaker_region: place.region,
    },
    RoleArn: place.roleArn,
    InputDataConfig: channelsOf(trial, place),
    OutputDataConfig: { S3OutputPath: place.outputUri },
    HyperParameterTuningResourceConfig: clusterOf(trial, place, instances),
    StoppingCondition: stoppingOf(trial),
    ...conditionsOf(trial),
  };
  return {
    HyperParameterTuningJobName: tuningName(place.workspace, spec.name),
    HyperParameterTuningJobConfig: {
      Strategy: STRATEGIES[strategy],
      HyperParameterTuningJobObjective: {
        Type: objective.goal === 'minimize' ? 'Minimize' : 'Maximize',
        MetricName: objective.metric,
      },
      ResourceLimits: {
        MaxParallelTrainingJobs: parallel,
        ...(strategy === 'grid' ? {} : { MaxNumberOfTrainingJobs: trials }),
      },
      ParameterRanges: rangesOf(spec),
      ...(seed === undefined ? {} : { RandomSeed: seed }),
    },
    TrainingJobDefinition: definition,
    Tags: tagsOf(place.workspace),
  };
}

const STRATEGIES = { grid: 'Grid', random: 'Random', bayesian: 'Bayesian' } as const;

/** SageMaker takes the first that is free. Source: SageMaker API, HyperParameterTuningResourceConfig. */
function clusterOf(
  { nodes, resources: { spot } }: JobSpec,
  { volumeKey }: TrainingPlace,
  instances: readonly Instance[],
): NonNullable<HyperParameterTrainingJobDefinition['HyperParameterTuningResourceConfig']> {
  const of = ({ type }: Instance) => ({
    InstanceType: type as TrainingInstanceType,
    InstanceCount: nodes,
  });
  const [first] = instances;
  if (first && (spot || instances.length === 1))
    return { ...of(first), ...volumeOf([first], volumeKey) };
  const { VolumeKmsKeyId }: { VolumeKmsKeyId?: string } = volumeOf(instances, volumeKey);
  return {
    AllocationStrategy: 'Prioritized',
    // A size must be there even where an instance has disks of its own.
    InstanceConfigs: instances.map((one) => ({ ...of(one), VolumeSizeInGB: VOLUME_GB })),
    ...(VolumeKmsKeyId ? { VolumeKmsKeyId } : {}),
  };
}

function rangesOf({ parameters }: TuningSpec): ParameterRanges {
  const ranges = (integer: boolean) =>
    parameters.flatMap((one) =>
      'values' in one || (one.integer ?? false) !== integer
        ? []
        : [
            {
              Name: one.name,
              MinValue: String(one.from),
              MaxValue: String(one.to),
              ScalingType: one.scale === 'log' ? ('Logarithmic' as const) : ('Linear' as const),
            },
          ],
    );
  const categorical = parameters.flatMap((one) =>
    'values' in one ? [{ Name: one.name, Values: one.values.map(String) }] : [],
  );
  return {
    ...(ranges(true).length ? { IntegerParameterRanges: ranges(true) } : {}),
    ...(ranges(false).length ? { ContinuousParameterRanges: ranges(false) } : {}),
    ...(categorical.length ? { CategoricalParameterRanges: categorical } : {}),
  };
}

const refusal = ({ name }: TuningSpec, field: string, message: string) =>
  new Problem('invalid', `Tuning '${name}' field '${field}' ${message}`, { field });

function check(spec: TuningSpec): void {
  const { strategy, parameters, trials, parallel, objective } = spec;
  const refuse = (field: string, message: string) => {
    throw refusal(spec, field, message);
  };
  if (!/^[a-zA-Z0-9](-?[a-zA-Z0-9]){0,50}$/.test(spec.name))
    refuse('name', 'must be at most 51 letters, digits and single dashes between them.');
  if (parameters.length < 1 || parameters.length > MOST.parameters)
    refuse('parameters', `must be 1 to ${MOST.parameters}.`);
  if (new Set(parameters.map(({ name }) => name)).size < parameters.length)
    refuse('parameters', 'names one twice.');
  for (const one of parameters) {
    if (!/^[A-Za-z]\w{0,99}$/.test(one.name) || /^sagemaker_/.test(one.name))
      refuse('parameters', `has the name '${one.name.slice(0, 100)}': use letters, digits and _.`);
    if ('values' in one) {
      if (one.values.length < 1 || one.values.length > MOST.values)
        refuse(
          'parameters',
          `gives '${one.name}' ${one.values.length} values of 1 to ${MOST.values}.`,
        );
    } else if (strategy === 'grid')
      refuse('parameters', `gives '${one.name}' a range: a grid takes values.`);
    else if (!(one.from < one.to)) refuse('parameters', `lets '${one.name}' end where it begins.`);
    else if (one.scale === 'log' && one.from <= 0)
      refuse('parameters', `begins '${one.name}' at ${one.from}: a log scale is above 0.`);
  }
  if (strategy !== 'grid' && (trials === undefined || trials < 1 || trials > MOST.trials))
    refuse('trials', `must be 1 to ${MOST.trials}.`);
  if (parallel < 1 || parallel > MOST.parallel)
    refuse('parallel', `must be 1 to ${MOST.parallel}.`);
  if (!spec.trial.metrics?.some(({ name }) => name === objective.metric))
    refuse('objective.metric', `is '${objective.metric}', which trial.metrics does not read.`);
}

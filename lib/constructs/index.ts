/** Constructs of CDK for anybody's app: `import { Stillflow, Pipeline } from 'stillflow/constructs'`. */
export type {
  Definitions,
  EndpointDefinition,
  PipelineDefinition,
} from '../../functions/definitions.ts';
export type { PipelineSteps } from '../../functions/pipelines/authoring/spec.ts';
export {
  type ArtifactKind,
  type Given,
  type Kind,
  type ParameterKind,
  type PythonSource,
  type Range,
  Step,
  type StepProps,
  TrainingStep,
  type TuningProps,
  TuningStep,
} from '../../functions/pipelines/authoring/step.ts';
export type { RetrainCause, RetrainDefinition } from '../../functions/triggers/definition.ts';
export {
  AutoscalingEndpoint,
  type AutoscalingEndpointProps,
} from './endpoint.ts';
export { Pipeline, type PipelineProps } from './pipeline.ts';
export { RetrainOn, type RetrainOnProps } from './retrain.ts';
export { Stillflow, type StillflowProps } from './stillflow.ts';

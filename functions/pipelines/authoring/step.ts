/** Types of parameters, in the words of the IR; a name that begins with `system.` is an artifact's. */
export type ParameterKind =
  | 'STRING'
  | 'NUMBER_INTEGER'
  | 'NUMBER_DOUBLE'
  | 'BOOLEAN'
  | 'LIST'
  | 'STRUCT';
export type ArtifactKind =
  `system.${'Artifact' | 'Dataset' | 'Model' | 'Metrics' | 'HTML' | 'Markdown'}`;
export type Kind = ParameterKind | ArtifactKind;

type Plain =
  | null
  | boolean
  | number
  | string
  | readonly Plain[]
  | { readonly [key: string]: Plain };

/** What a step gets: a value, a parameter of the pipeline, or what another step gives. */
export type Given =
  | string
  | number
  | boolean
  | { readonly parameter: string }
  | { readonly step: string; readonly output: string }
  | { readonly constant: Plain };

/** A function in a Python file of its own; the file travels whole, with its imports. */
export interface PythonSource {
  /** Relative to the file that declares it, or absolute. */
  readonly file: string;
  readonly function: string;
}

export interface StepProps {
  /**
   * A function as kfp's lightweight components are: its arguments are `inputs` and `outputs`, those that are artifacts
   * annotated `dsl.Input[..]` and `dsl.Output[..]`. It returns the parameters among `outputs` as a NamedTuple, or a
   * single one, which is then called `Output`.
   */
  readonly python?: PythonSource;
  /** In place of `python`: what runs, with the IR's placeholders such as `{{$.inputs.parameters['day']}}`. */
  readonly command?: readonly string[];
  /** `python:3.11` if absent, which light steps run on without a container. */
  readonly image?: string;
  readonly inputs?: Readonly<Record<string, Given>>;
  readonly outputs?: Readonly<Record<string, Kind>>;
  /** Steps to wait for though nothing of theirs is read. */
  readonly after?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cpus?: number;
  readonly memoryGb?: number;
  readonly accelerator?: { readonly type: string; readonly count: number };
  /** 15 minutes on a Lambda and a day elsewhere if absent. */
  readonly deadlineSeconds?: number;
  /** Tries after the first. */
  readonly retries?: number;
  /** Whether what an earlier run gave for the same inputs is taken; true if absent. */
  readonly cached?: boolean;
}

/** A step of a pipeline, written down: nothing happens until the pipeline that holds it is compiled. */
export class Step {
  readonly kind: 'step' | 'tuning' = 'step';
  readonly props: StepProps;
  constructor(props: StepProps) {
    this.props = props;
  }
}

/** A step that trains: a job of its own size on SageMaker in an account, a process on this machine. */
export class TrainingStep extends Step {
  constructor(props: StepProps) {
    super({ ...props, env: { ...props.env, STILLFLOW_RUNNER: 'sagemaker' } });
  }
}

/** From `minimum` to `maximum`: whole with `integer`, by orders of magnitude with `log`. */
export interface Range {
  readonly minimum: number;
  readonly maximum: number;
  readonly integer?: boolean;
  readonly log?: boolean;
}

export interface TuningProps extends StepProps {
  readonly python: PythonSource;
  /** `grid`: all combinations. `random`: so many, drawn the same at each synth from the same seed. At most 50 trials. */
  readonly search:
    | { readonly grid: Readonly<Record<string, readonly (string | number | boolean)[]>> }
    | {
        readonly random: Readonly<Record<string, Range | readonly (string | number | boolean)[]>>;
        readonly trials: number;
        readonly seed?: number;
      };
  /** A NUMBER_DOUBLE among `outputs`. */
  readonly objective: { readonly output: string; readonly goal: 'minimize' | 'maximize' };
  /** Trials at the same time take a job each. `step` in an account: light ones run on Lambda; `training`: on SageMaker. */
  readonly trialsAs?: 'step' | 'training';
}

/**
 * One step a trial, all at once, and one under the step's own name that picks the best. It gives `value` (the best
 * objective), `trial` (its number, from 1), `parameters` (what it was tried with), and each artifact of the best trial
 * under its own name.
 */
export class TuningStep extends Step {
  override readonly kind = 'tuning';
  readonly tuning: TuningProps;
  constructor(props: TuningProps) {
    super(props);
    this.tuning = props;
  }
}

/**
 * Amazon States Language as we write it: JSONata only. The compiler writes these types, people write the same shape as
 * text, Step Functions and the local interpreter read it.
 * Source: states-language.net/spec.html; docs.aws.amazon.com/step-functions, "Transforming data with JSONata".
 */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A whole string value: JSONata between the marks, nothing outside them. */
export type Expression = `{%${string}%}`;

/** JSON whose strings, at any depth, may each be an Expression. */
export type Template = Json;

/** Variables by name, without the `$`: seen by expressions from the next state on. */
export type Assignments = { readonly [variable: string]: Template };

/** Delays 1 to 99,999,999 s; the n-th is `IntervalSeconds * BackoffRate ** (n - 1)`, at most `MaxDelaySeconds`. */
export interface Retrier {
  readonly ErrorEquals: readonly string[];
  readonly Comment?: string;
  /** 1 if absent. */
  readonly IntervalSeconds?: number;
  /** At least 1; 2 if absent. */
  readonly BackoffRate?: number;
  /** 3 if absent; 0 for never. */
  readonly MaxAttempts?: number;
  readonly MaxDelaySeconds?: number;
  /** FULL: a random part of the delay. NONE if absent. */
  readonly JitterStrategy?: 'FULL' | 'NONE';
}

/** `Output` and `Assign` see `$states.errorOutput`, which is `{ Error, Cause }`. */
export interface Catcher {
  readonly ErrorEquals: readonly string[];
  readonly Comment?: string;
  readonly Assign?: Assignments;
  readonly Output?: Template;
  readonly Next: string;
}

interface Described {
  readonly Comment?: string;
  readonly QueryLanguage?: 'JSONata';
}

/** Exactly one of both. */
type Onward =
  | { readonly Next: string; readonly End?: never }
  | { readonly End: true; readonly Next?: never };

interface Guarded {
  readonly Retry?: readonly Retrier[];
  readonly Catch?: readonly Catcher[];
}

/** What follows `Output` sees `$states.result`. */
interface Produces {
  readonly Assign?: Assignments;
  readonly Output?: Template;
}

export type TaskState = Described &
  Guarded &
  Produces &
  Onward & {
    readonly Type: 'Task';
    /** One of `resources.ts`. */
    readonly Resource: string;
    readonly Arguments?: Template;
    /** Whole seconds, at least 1; an Expression may give them. Ends in `States.Timeout`. */
    readonly TimeoutSeconds?: number | Expression;
  };

export type PassState = Described & Produces & Onward & { readonly Type: 'Pass' };

export interface ChoiceRule extends Produces {
  readonly Comment?: string;
  /** Must give true or false; the first true one is taken. */
  readonly Condition: Expression | boolean;
  readonly Next: string;
}

/** Its own `Assign` and `Output` belong to `Default`. */
export type ChoiceState = Described &
  Produces & {
    readonly Type: 'Choice';
    readonly Choices: readonly ChoiceRule[];
    readonly Default?: string;
  };

export type WaitState = Described &
  Produces &
  Onward & { readonly Type: 'Wait' } & (
    | { readonly Seconds: number | Expression; readonly Timestamp?: never }
    /** RFC 3339. */
    | { readonly Timestamp: string; readonly Seconds?: never }
  );

export type SucceedState = Described & { readonly Type: 'Succeed'; readonly Output?: Template };

export type FailState = Described & {
  readonly Type: 'Fail';
  readonly Error?: string;
  readonly Cause?: string;
};

/** Each branch gets the state's input, or `Arguments`; the result is the branches' outputs, in order. */
export type ParallelState = Described &
  Guarded &
  Produces &
  Onward & {
    readonly Type: 'Parallel';
    readonly Branches: readonly Scope[];
    readonly Arguments?: Template;
  };

/** Inline only: at most 40 at once on AWS. The result is the iterations' outputs, in order. */
export type MapState = Described &
  Guarded &
  Produces &
  Onward & {
    readonly Type: 'Map';
    /** The state's input if absent. */
    readonly Items?: readonly Template[] | Expression;
    /** Sees `$states.context.Map.Item.Index` and `.Value`. */
    readonly ItemSelector?: Template;
    readonly ItemProcessor: Scope & { readonly ProcessorConfig?: { readonly Mode: 'INLINE' } };
    /** 0 or absent: as many as the engine likes. */
    readonly MaxConcurrency?: number | Expression;
  };

export type State =
  | TaskState
  | PassState
  | ChoiceState
  | WaitState
  | SucceedState
  | FailState
  | ParallelState
  | MapState;

/** States with a start: a machine, a branch, an item processor. Names are unique in the whole machine. */
export interface Scope {
  readonly Comment?: string;
  readonly QueryLanguage?: 'JSONata';
  readonly StartAt: string;
  readonly States: { readonly [name: string]: State };
}

export interface StateMachine extends Scope {
  readonly QueryLanguage: 'JSONata';
  readonly Version?: '1.0';
  /** For the whole execution, which then ends TIMED_OUT. */
  readonly TimeoutSeconds?: number;
}

/** What Step Functions allows; the interpreter holds machines to the same. Source: kfp.md section 5.1. */
export const LIMITS = {
  nameLength: 80,
  definitionBytes: 1_048_576,
  /** Input, output, arguments or result of one state, as UTF-8 JSON. */
  dataBytes: 262_144,
  /** All variables of an execution. */
  variablesBytes: 10_485_760,
  historyEvents: 25_000,
  inlineMapConcurrency: 40,
  errorLength: 256,
  causeLength: 32_768,
} as const;

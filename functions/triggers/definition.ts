import type { Json } from '../kernel/json.ts';

/** What starts a retraining. Exactly one of the four. */
export interface RetrainCause {
  /** Five fields of cron, such as `0 6 * * 1`; UTC unless `timeZone` says otherwise. */
  readonly schedule?: string;
  readonly timeZone?: string;
  /** Files that arrive below this prefix, by the API or straight in the bucket: `drops/`. */
  readonly prefix?: string;
  /** An event of the product, such as `registry.alias.set`, or of one's own; `match` holds places in it to values. */
  readonly event?: { readonly type: string; readonly match?: Readonly<Record<string, Json>> };
  /** A metric rule of an experiment that comes to hold: by its name, or any that watches `metric`. */
  readonly metric?: { readonly rule?: string; readonly metric?: string };
}

/** What a rule starts, and when. */
export interface RetrainDefinition {
  readonly on: RetrainCause;
  /** The name of a pipeline. */
  readonly pipeline: string;
  /** A text such as `$.data.path` is taken from the event. */
  readonly parameters?: Readonly<Record<string, Json>>;
  readonly experiment?: string;
  /**
   * Holds the new model against the one that the alias names, and moves the alias if it is better: the run is then part
   * of the machine `retraining`. Without it a run is started, and that is all.
   */
  readonly gate?: {
    readonly model: string;
    readonly metric: string;
    readonly direction: 'lower' | 'higher';
    readonly alias?: string;
    readonly minimumImprovement?: number;
    readonly version?: string;
    readonly after?: string;
    readonly before?: string;
  };
  readonly debounceSeconds?: number;
  readonly maximumPerHour?: number;
  readonly enabled?: boolean;
}

/** As the API takes a rule; it is checked there. Throws in one line. */
export function ruleOf({ on, pipeline, parameters, experiment, gate, ...rest }: RetrainDefinition) {
  return {
    on: causeOf(on),
    start: {
      pipeline,
      ...(parameters === undefined ? {} : { parameters }),
      ...(experiment === undefined ? {} : { experiment }),
      ...(gate === undefined ? {} : { machine: 'retraining', gate }),
    },
    ...rest,
  };
}

function causeOf({ schedule, timeZone, prefix, event, metric }: RetrainCause) {
  const given = [schedule, prefix, event, metric].filter((one) => one !== undefined);
  if (given.length !== 1)
    throw new Error('on: must hold exactly one of schedule, prefix, event and metric');
  if (schedule !== undefined)
    return { cron: { schedule, ...(timeZone === undefined ? {} : { timeZone }) } };
  if (prefix !== undefined) return { data: { prefix } };
  if (event) return { event };
  const match = {
    ...(metric?.rule === undefined ? {} : { '$.data.ruleId': metric.rule }),
    ...(metric?.metric === undefined ? {} : { '$.data.metric': metric.metric }),
  };
  return { event: { type: 'tracking.metric-rule.held', match } };
}

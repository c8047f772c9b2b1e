import { Construct, type IDependable } from 'constructs';
import { type RetrainDefinition, ruleOf } from '../../functions/triggers/definition.ts';
import { RuleAsked, RuleName } from '../../functions/triggers/model.ts';
import { checked } from './checked.ts';
import { declare } from './declare.ts';
import { Pipeline } from './pipeline.ts';
import type { Stillflow } from './stillflow.ts';

export interface RetrainOnProps extends Omit<RetrainDefinition, 'pipeline'> {
  readonly stillflow: Stillflow;
  /** Up to 40 letters, digits and single dashes. */
  readonly name: string;
  /** One of this app, or the name of one that is there already. */
  readonly pipeline: Pipeline | string;
}

/**
 * A rule that starts a pipeline by a clock, by an event, by files that arrive or by a metric; with a `gate` as a
 * retraining that moves an alias only for a better model. It is one of `GET /api/rules`, with its firings.
 *
 * @example
 * new RetrainOn(stack, 'Drops', { stillflow, name: 'drops', pipeline, on: { prefix: 'drops/' },
 *   parameters: { path: '$.data.path' }, gate: { model: 'demand', metric: 'wape', direction: 'lower' } });
 */
export class RetrainOn extends Construct {
  readonly name: string;

  constructor(scope: Construct, id: string, props: RetrainOnProps) {
    super(scope, id);
    const { stillflow, name, pipeline, ...definition } = props;
    const at = `rule '${name}'`;
    this.name = checked(at, RuleName, name);
    if (definition.gate && !stillflow.rooms.includes('loops'))
      throw new Error(`${at}: a gate needs the room 'loops', which Stillflow does not deploy`);
    const ours = pipeline instanceof Pipeline ? pipeline : undefined;
    const rule = ruleOf({ ...definition, pipeline: ours?.name ?? String(pipeline) });
    const declared = declare(this, 'Declared', {
      ...{ stillflow, room: 'triggers', kind: 'rule', name },
      declaration: checked(at, RuleAsked, rule),
    });
    // A rule is refused while its pipeline is not there.
    if (ours) declared.node.addDependency(ours as IDependable);
  }
}

import { Construct } from 'constructs';
import type { EndpointDefinition } from '../../functions/definitions.ts';
import { EndpointAsked, EndpointName } from '../../functions/serving/model.ts';
import { checked } from './checked.ts';
import { declare } from './declare.ts';
import type { Stillflow } from './stillflow.ts';

export interface AutoscalingEndpointProps extends EndpointDefinition {
  readonly stillflow: Stillflow;
  /** Up to 40 letters, digits and single dashes. */
  readonly name: string;
}

/**
 * An endpoint that serves a registered model and scales with its requests. One that follows an alias may be deployed
 * before the model is trained: it comes up when the alias is set for the first time. It is deployed by `deploy-endpoint`
 * like any other, and goes when the stack goes.
 *
 * @example
 * new AutoscalingEndpoint(stack, 'Demand', { stillflow, name: 'demand', model: 'models:/demand@champion' });
 */
export class AutoscalingEndpoint extends Construct {
  readonly name: string;
  /** Where predictions are asked for, with a token. */
  readonly invocationsUrl: string;

  constructor(scope: Construct, id: string, props: AutoscalingEndpointProps) {
    super(scope, id);
    const { stillflow, name, model, scale = {} } = props;
    const at = `endpoint '${name}'`;
    this.name = checked(at, EndpointName, name);
    const declaration = checked(at, EndpointAsked, { model, scale });
    declare(this, 'Declared', {
      ...{ stillflow, room: 'serving', kind: 'endpoint', name },
      declaration,
    });
    this.invocationsUrl = `${stillflow.url}/endpoints/${name}/invocations`;
  }
}

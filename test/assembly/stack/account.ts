import { createHash } from 'node:crypto';
import type { Assembly } from './assembly.ts';
import { ACCOUNT, intrinsics, type Made, REGION } from './intrinsics.ts';
import { refuseUnknown } from './supported.ts';
import { type Fields, fields, text } from './values.ts';

/** A resource of a template as it stands in the account. */
export interface Resource {
  /** `stillflow-api/tracking-http/..`, shortened to stack and logical id: what a message names. */
  readonly at: string;
  readonly stack: string;
  readonly id: string;
  readonly type: string;
  readonly ref: string;
  readonly arn: string;
  readonly properties: Fields;
}

export interface Account {
  of(type: string): readonly Resource[];
  /** By `Ref` or ARN. Throws naming what is not there. */
  find(type: string, refOrArn: string): Resource;
  readonly outputs: Readonly<Record<string, string>>;
}

export interface Fronts {
  /** `http://127.0.0.1:5000` of an API or function URL, by where it stands. */
  url(at: string): string;
  /** Where SDKs of functions speak to. */
  readonly gateway: string;
}

const arn = (service: string, resource: string) =>
  `arn:aws:${service}:${REGION}:${ACCOUNT}:${resource}`;
const digest = (text: string, length: number) =>
  createHash('sha256').update(text).digest('hex').slice(0, length);

/**
 * The templates as an account would hold them once they are deployed. Throws for what is not supported. `salt` goes into
 * the names that CloudFormation would make up, so that two stacks share nothing.
 */
export function deployedAccount({ templates }: Assembly, fronts: Fronts, salt = ''): Account {
  refuseUnknown(templates);
  const { resolve, condition, makeOf } = intrinsics(templates, (stack, id, resolved) => {
    const resource = templates[stack]?.Resources[id];
    if (!resource) throw new Error(`there is no ${stack}/${id}`);
    const named = (property: string, otherwise: string) =>
      text(resolved(resource.Properties?.[property])) || otherwise;
    return made({ stack, id, type: resource.Type, salt }, named, fronts);
  });
  const all: Resource[] = [];
  const outputs: Record<string, string> = {};
  for (const [stack, { Resources, Outputs = {} }] of Object.entries(templates)) {
    for (const [id, resource] of Object.entries(Resources)) {
      const at = `${stack}/${id}`;
      if (resource['Condition'] && !condition(stack, resource['Condition'], at)) continue;
      const { ref, attributes } = makeOf(stack, id);
      const properties = fields(resolve(stack, resource.Properties ?? {}, at));
      all.push({
        at,
        stack,
        id,
        type: resource.Type,
        ref,
        arn: attributes['Arn'] ?? ref,
        properties,
      });
    }
    for (const [name, { Value }] of Object.entries(Outputs))
      outputs[`${stack}.${name}`] = text(resolve(stack, Value, `${stack}.${name}`));
  }
  return {
    outputs,
    of: (type) => all.filter((one) => one.type === type),
    find(type, refOrArn) {
      const found = all.find((one) => one.type === type && [one.ref, one.arn].includes(refOrArn));
      if (!found) throw new Error(`there is no ${type} ${refOrArn}`);
      return found;
    },
  };
}

/** Physical name, `Ref` and attributes, as CloudFormation documents them by type. */
function made(
  { stack, id, type, salt }: Record<'stack' | 'id' | 'type' | 'salt', string>,
  named: (property: string, otherwise: string) => string,
  { url, gateway }: Fronts,
): Made {
  const at = `${stack}/${id}`;
  const made = `${stack}-${id.slice(0, 24)}-${digest(salt + at, 12).toUpperCase()}`;
  const of = (name: string, Arn: string, more: Record<string, string> = {}): Made => ({
    ref: name,
    attributes: { Arn, ...more },
  });
  switch (type) {
    case 'AWS::Lambda::Function': {
      const name = named('FunctionName', made);
      return of(name, arn('lambda', `function:${name}`));
    }
    case 'AWS::IAM::Role': {
      const name = named('RoleName', made);
      return of(name, `arn:aws:iam::${ACCOUNT}:role/${name}`, { RoleId: `AROA${digest(at, 16)}` });
    }
    case 'AWS::DynamoDB::GlobalTable': {
      const table = arn('dynamodb', `table/${made}`);
      return of(made, table, { StreamArn: `${table}/stream/2026-01-01T00:00:00.000` });
    }
    case 'AWS::S3::Bucket': {
      const name = named('BucketName', made.toLowerCase());
      return of(name, `arn:aws:s3:::${name}`);
    }
    case 'AWS::SQS::Queue': {
      const name = named('QueueName', made);
      return of(`${gateway}/${ACCOUNT}/${name}`, arn('sqs', name), { QueueName: name });
    }
    case 'AWS::SNS::Topic': {
      const topic = arn('sns', made);
      return of(topic, topic, { TopicArn: topic, TopicName: made });
    }
    case 'AWS::Events::EventBus': {
      const name = named('Name', made);
      return of(name, arn('events', `event-bus/${name}`), { Name: name });
    }
    case 'AWS::Events::Rule': {
      const bus = named('EventBusName', 'default');
      const name = named('Name', made);
      return of(name, arn('events', `rule/${bus === 'default' ? '' : `${bus}/`}${name}`));
    }
    case 'AWS::StepFunctions::StateMachine': {
      const name = named('StateMachineName', made);
      const machine = arn('states', `stateMachine:${name}`);
      return of(machine, machine, { Name: name });
    }
    case 'AWS::Logs::LogGroup': {
      const name = named('LogGroupName', made);
      return of(name, arn('logs', `log-group:${name}:*`));
    }
    case 'AWS::Lambda::LayerVersion': {
      const layer = arn('lambda', `layer:${made}:1`);
      return of(layer, layer);
    }
    case 'AWS::ApiGatewayV2::Api': {
      const apiId = digest(at, 10);
      return of(apiId, arn('execute-api', apiId), { ApiId: apiId, ApiEndpoint: url(at) });
    }
    case 'AWS::Lambda::Url':
      return of(at, at, { FunctionUrl: `${url(at)}/` });
    case 'AWS::Scheduler::Schedule': {
      const name = named('Name', made);
      return of(name, arn('scheduler', `schedule/default/${name}`));
    }
    default:
      return of(/^AWS::ApiGatewayV2::/.test(type) ? digest(at, 7) : made, at);
  }
}

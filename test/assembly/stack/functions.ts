import { type Access, arnOf, type Caller } from './access.ts';
import type { Account, Resource } from './account.ts';
import type { Assembly } from './assembly.ts';
import { fields, number, text, texts } from './values.ts';

/** A function as its template says; its process gets this and nothing else. */
export interface FunctionSpec {
  readonly at: string;
  readonly name: string;
  readonly arn: string;
  readonly handler: string;
  readonly runtime: string;
  readonly code: string;
  readonly layers: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutSeconds: number;
  readonly memoryMb: number;
  readonly logGroup: string;
  readonly caller: Caller;
}

const ENVIRONMENT_BYTES = 4096;
/** Lambda sets these itself, and refuses a template that does. */
const RESERVED =
  /^(AWS_(REGION|DEFAULT_REGION|ACCESS_KEY.*|SECRET_ACCESS_KEY|SESSION_TOKEN|EXECUTION_ENV|LAMBDA_.*)|_HANDLER|LAMBDA_.*)$/;

/** Every function of the templates. Throws for what Lambda itself would refuse at deployment. */
export function functionsOf(account: Account, assembly: Assembly, access: Access): FunctionSpec[] {
  const assetOf = (content: unknown, at: string): string => {
    const key = text(fields(content)['S3Key']);
    const path = assembly.assets.get(key);
    if (!path) throw new Error(`${at} is of an asset ${key}, which the assembly does not hold`);
    return path;
  };
  return account.of('AWS::Lambda::Function').map((resource): FunctionSpec => {
    const { at, ref, arn, properties } = resource;
    const environment = environmentOf(resource);
    const layers = texts(properties['Layers']).map((layer) => {
      const found = account.find('AWS::Lambda::LayerVersion', layer);
      return assetOf(found.properties['Content'], found.at);
    });
    const caller = access.assume(text(properties['Role']), at, 'lambda.amazonaws.com');
    const logGroup = text(fields(properties['LoggingConfig'])['LogGroup']) || `/aws/lambda/${ref}`;
    return {
      at,
      name: ref,
      arn,
      handler: text(properties['Handler']),
      runtime: text(properties['Runtime']),
      code: assetOf(properties['Code'], at),
      layers,
      environment,
      timeoutSeconds: number(properties['Timeout'], 3),
      memoryMb: number(properties['MemorySize'], 128),
      logGroup,
      caller,
    };
  });
}

function environmentOf({ at, properties }: Resource): Record<string, string> {
  const variables = fields(fields(properties['Environment'])['Variables']) as Record<
    string,
    string
  >;
  let bytes = 0;
  for (const [name, value] of Object.entries(variables)) {
    if (RESERVED.test(name)) throw new Error(`${at} sets ${name}, which Lambda keeps for itself`);
    if (typeof value !== 'string') throw new Error(`${at}: the variable ${name} is no text`);
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  if (bytes > ENVIRONMENT_BYTES)
    throw new Error(
      `${at} has ${bytes} bytes of environment, and Lambda takes ${ENVIRONMENT_BYTES}`,
    );
  return variables;
}

/** What a function asks to write its own log; without it its log is lost. */
export const mayLog = (access: Access, { caller, logGroup }: FunctionSpec): boolean =>
  ['logs:CreateLogStream', 'logs:PutLogEvents'].every((action) => {
    try {
      const resource = arnOf('logs', `log-group:${logGroup}:log-stream:stack`);
      access.check(caller, { action, resource });
      return true;
    } catch {
      return false;
    }
  });

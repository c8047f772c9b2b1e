import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemCall } from '../../../functions/kernel/call.ts';
import { Problem } from '../../../functions/kernel/problem.ts';
import { newUlid, type World } from '../../../functions/kernel/world.ts';
import type { EndpointStatus } from '../../../functions/platform/ports.ts';
import type { LocalEndpoints } from '../../../local/endpoints.ts';
import { type Access, AwsError, arnOf, type Caller } from './access.ts';
import { bodyOf } from './lambda.ts';
import { splitName } from './names.ts';
import type { S3 } from './s3.ts';
import { type Fields, fields, list, number, text } from './values.ts';

export interface HostingParts {
  readonly access: Access;
  readonly s3: S3;
  readonly endpoints: LocalEndpoints;
  readonly world: World;
  readonly folder: string;
  readonly check: (operation: string, request: Fields) => string | undefined;
}

const invalid = (message: string) => new AwsError('ValidationException', message);
/** 25 MB in, and 4 MB for a serverless one. Source: SageMaker developer guide, "Serverless endpoints", quotas. */
const SERVERLESS_BYTES = 4 * 1024 * 1024;
const ANSWER_MS = 60_000;

/**
 * SageMaker's models, configurations and serverless endpoints over local model servers: requests are held against AWS's
 * model, the archive is read from S3 by the model's own role. *Shape only* beyond that; the serving image is not pulled.
 */
export function sagemakerHosting({ access, s3, endpoints, world, folder, check }: HostingParts) {
  const models = new Map<string, Fields>();
  const configs = new Map<string, Fields>();
  const made = new Set<string>();
  const split = (full: string) => {
    const { workspace, own } = splitName(full);
    return {
      call: systemCall(workspace, 'endpoints', newUlid(world), world.now() + ANSWER_MS),
      name: own,
    };
  };
  const arn = (kind: string, name: string) => arnOf('sagemaker', `${kind}/${name}`);

  /** The archive, as SageMaker unpacks it at /opt/ml/model. */
  async function unpacked(model: string): Promise<string> {
    const { PrimaryContainer, ExecutionRoleArn } = fields(models.get(model));
    const role = access.assume(text(ExecutionRoleArn), `model ${model}`, 'sagemaker.amazonaws.com');
    const url = text(fields(PrimaryContainer)['ModelDataUrl']);
    const [, bucket = '', key = ''] = /^s3:\/\/([^/]+)\/(.+\.tar\.gz)$/.exec(url) ?? [];
    const bytes = bucket && (await s3.read(role, bucket, key));
    if (!bytes) throw invalid(`Could not find model data at ${url}.`);
    const to = join(folder, model);
    await mkdir(to, { recursive: true });
    await writeFile(join(to, '.model.tar.gz'), bytes);
    await promisify(execFile)('tar', ['-xzf', join(to, '.model.tar.gz'), '-C', to]);
    return to;
  }

  async function deploy(full: string, config: string): Promise<void> {
    const [variant] = list(fields(configs.get(config))['ProductionVariants']).map(fields);
    if (!variant) throw invalid(`Could not find endpoint configuration "${config}".`);
    const model = text(variant['ModelName']);
    const { MaxConcurrency, ProvisionedConcurrency } = fields(variant['ServerlessConfig']);
    if (MaxConcurrency === undefined)
      throw invalid('npm run stack hosts serverless endpoints only');
    const { call, name } = split(full);
    const container = fields(fields(models.get(model))['PrimaryContainer']);
    await endpoints.deploy(call, {
      name,
      revision: config,
      modelUri: await unpacked(model),
      env: fields(container['Environment']) as Record<string, string>,
      scale: {
        minimum: number(ProvisionedConcurrency, 0) > 0 ? 1 : 0,
        maximum: 1,
        concurrency: number(MaxConcurrency, 1),
        idleSeconds: 300,
      },
    });
    made.add(full);
  }

  async function status(full: string): Promise<EndpointStatus> {
    const { call, name } = split(full);
    const found = await endpoints.describe(call, name);
    if (!found) throw invalid(`Could not find endpoint "${full}".`);
    return found;
  }

  const wordOf = ({ state, revision }: EndpointStatus) =>
    state === 'creating'
      ? 'Creating'
      : state === 'updating'
        ? 'Updating'
        : state === 'failed' && revision === undefined
          ? 'Failed'
          : 'InService';

  const operations: Record<string, (caller: Caller, request: Fields) => Promise<unknown>> = {
    async CreateModel(caller, request) {
      const name = text(request['ModelName']);
      asked(caller, 'CreateModel', request, 'model', name);
      access.pass(caller, text(request['ExecutionRoleArn']), 'sagemaker.amazonaws.com');
      if (models.has(name)) throw invalid(`Cannot create already existing model "${name}".`);
      models.set(name, request);
      return { ModelArn: arn('model', name) };
    },
    async CreateEndpointConfig(caller, request) {
      const name = text(request['EndpointConfigName']);
      asked(caller, 'CreateEndpointConfig', request, 'endpoint-config', name);
      if (configs.has(name))
        throw invalid(`Cannot create already existing endpoint configuration "${name}".`);
      for (const variant of list(request['ProductionVariants']).map(fields))
        if (!models.has(text(variant['ModelName'])))
          throw invalid(`Could not find model "${text(variant['ModelName'])}".`);
      configs.set(name, request);
      return { EndpointConfigArn: arn('endpoint-config', name) };
    },
    async CreateEndpoint(caller, request) {
      const name = pointed(caller, 'CreateEndpoint', request);
      const { call, name: own } = split(name);
      if (await endpoints.describe(call, own))
        throw invalid(`Cannot create already existing endpoint "${name}".`);
      await deploy(name, text(request['EndpointConfigName']));
      return { EndpointArn: arn('endpoint', name) };
    },
    async UpdateEndpoint(caller, request) {
      const name = pointed(caller, 'UpdateEndpoint', request);
      const word = wordOf(await status(name));
      if (word === 'Creating' || word === 'Updating')
        throw invalid(`Cannot update in-progress endpoint "${name}".`);
      if (word === 'Failed') throw invalid(`Cannot update failed endpoint "${name}".`);
      await deploy(name, text(request['EndpointConfigName']));
      return { EndpointArn: arn('endpoint', name) };
    },
    async DescribeEndpoint(caller, request) {
      const name = text(request['EndpointName']);
      asked(caller, 'DescribeEndpoint', request, 'endpoint', name);
      const found = await status(name);
      const EndpointStatus = wordOf(found);
      const now = world.now() / 1000;
      return {
        EndpointName: name,
        EndpointArn: arn('endpoint', name),
        EndpointStatus,
        EndpointConfigName: found.revision ?? found.target,
        CreationTime: now,
        LastModifiedTime: now,
        ...(EndpointStatus === 'Updating'
          ? { PendingDeploymentSummary: { EndpointConfigName: found.target } }
          : {}),
        ...(found.failure ? { FailureReason: found.failure } : {}),
        ProductionVariants: [
          {
            VariantName: 'all',
            CurrentServerlessConfig: { MaxConcurrency: 1, MemorySizeInMB: 3072 },
          },
        ],
      };
    },
    async DeleteEndpoint(caller, request) {
      const full = text(request['EndpointName']);
      asked(caller, 'DeleteEndpoint', request, 'endpoint', full);
      await status(full);
      const { call, name } = split(full);
      await endpoints.remove(call, name);
      made.delete(full);
    },
    async DeleteEndpointConfig(caller, request) {
      const name = text(request['EndpointConfigName']);
      asked(caller, 'DeleteEndpointConfig', request, 'endpoint-config', name);
      if (!configs.delete(name)) throw invalid(`Could not find endpoint configuration "${name}".`);
    },
    async DeleteModel(caller, request) {
      const name = text(request['ModelName']);
      asked(caller, 'DeleteModel', request, 'model', name);
      if (!models.delete(name)) throw invalid(`Could not find model "${name}".`);
    },
  };

  function asked(
    caller: Caller,
    operation: string,
    request: Fields,
    kind: string,
    name: string,
  ): void {
    access.check(caller, { action: `sagemaker:${operation}`, resource: arn(kind, name) });
    if (list(request['Tags']).length)
      access.check(caller, { action: 'sagemaker:AddTags', resource: arn(kind, name) });
    const wrong = check(operation, request);
    if (wrong) throw invalid(`1 validation error detected: ${wrong}`);
  }
  /** Create and Update ask for the configuration too. Source: Service authorization reference, SageMaker. */
  function pointed(caller: Caller, operation: string, request: Fields): string {
    const name = text(request['EndpointName']);
    asked(caller, operation, request, 'endpoint', name);
    const config = arn('endpoint-config', text(request['EndpointConfigName']));
    access.check(caller, { action: `sagemaker:${operation}`, resource: config });
    return name;
  }

  return {
    operations,
    async lines(full: string, after?: string) {
      const { call, name } = split(full);
      return endpoints.logs(call, name, after);
    },
    /** `POST /endpoints/<name>/invocations` of the runtime. */
    async invoke(
      caller: Caller,
      request: IncomingMessage,
      response: ServerResponse,
    ): Promise<void> {
      const [, full = ''] = /^\/endpoints\/([^/]+)\/invocations$/.exec(request.url ?? '') ?? [];
      if (!full)
        throw new AwsError(
          'UnknownOperationException',
          `npm run stack does not know ${request.url}`,
        );
      access.check(caller, { action: 'sagemaker:InvokeEndpoint', resource: arn('endpoint', full) });
      const body = await bodyOf(request);
      if (body.length > SERVERLESS_BYTES)
        throw new AwsError(
          'ValidationError',
          `The body has ${body.length} bytes; a serverless endpoint takes 4 MB.`,
        );
      const { call, name } = split(full);
      if (!(await endpoints.describe(call, name)))
        throw new AwsError('ValidationError', `Endpoint ${full} of account not found.`);
      const say = (code: number, type: string, words: Fields) =>
        response
          .writeHead(code, { 'x-amzn-errortype': type, 'content-type': 'application/json' })
          .end(JSON.stringify(words));
      try {
        const contentType = String(request.headers['content-type']);
        const answer = await endpoints.invoke(call, name, {
          path: '/invocations',
          contentType,
          body,
        });
        const bytes = Buffer.from(await new Response(answer.body as BodyInit).arrayBuffer());
        const [variant] = list(configs.get(answer.revision ?? '')?.['ProductionVariants']).map(
          fields,
        );
        if (answer.status < 400)
          response
            .writeHead(200, {
              'content-type': answer.contentType,
              'x-amzn-invoked-production-variant': text(variant?.['VariantName']),
            })
            .end(bytes);
        else
          say(424, 'ModelError', {
            Message: 'Received client error from primary.',
            OriginalStatusCode: answer.status,
            OriginalMessage: bytes.toString(),
          });
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        say(503, 'ServiceUnavailable', { Message: error.message });
      }
    },
  };
}

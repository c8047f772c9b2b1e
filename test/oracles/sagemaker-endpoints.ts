import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Call } from '../../functions/kernel/call.ts';
import type { WorkspaceId } from '../../functions/kernel/ids.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { EndpointSpec, EndpointStatus } from '../../functions/platform/ports.ts';
import type { LocalEndpoints } from '../../local/endpoints.ts';
import { answering, bodyOf, type Fields, own, Refusal, readAction } from './sagemaker.ts';

/**
 * SageMaker's hosting API and the runtime's InvokeEndpoint over local model servers. *Shape only, not independent*, as
 * sagemaker.ts. What it does insist on is what the adapter must reckon with: names are taken once, a serverless variant
 * takes a model's archive and no folder, and no change is taken while another is under way.
 */
export interface EndpointSkinOptions {
  readonly endpoints: LocalEndpoints;
  readonly call: Call;
  /** What lies in the bucket, by key. */
  readonly files: Map<string, Uint8Array>;
  /** `s3://bucket/key` as a folder of this machine. */
  folder(uri: string): string;
}
interface Skin extends EndpointSkinOptions {
  /** Environment and archive by model; model by configuration; configuration by endpoint. */
  readonly models: Map<string, { environment: Record<string, string>; archive: string }>;
  readonly configs: Map<string, { model: string; concurrency: number; variant: string }>;
  readonly made: Map<string, string>;
}

export function endpointSkin(options: EndpointSkinOptions) {
  const skin: Skin = { ...options, models: new Map(), configs: new Map(), made: new Map() };
  return answering(async (request, response) => {
    const [, name] = /^\/endpoints\/([^/]+)\/invocations$/.exec(request.url ?? '') ?? [];
    if (name !== undefined) return invoke(skin, name, request, response);
    const { action, asked } = await readAction(request);
    return own(ACTIONS, action)(skin, asked);
  });
}

function split({ call }: Skin, full: string): { call: Call; name: string } {
  return { call: { ...call, workspace: full.slice(3, 11) as WorkspaceId }, name: full.slice(12) };
}
const text = (asked: Fields, name: string): string => String(asked[name]);
const invalid = (message: string) => new Refusal('ValidationException', message);

function bytesAt({ files }: Skin, uri: string): Uint8Array {
  const bytes = files.get(uri.replace(/^s3:\/\/[^/]+\//, ''));
  if (!bytes) throw invalid(`Could not find model data at ${uri}.`);
  return bytes;
}

/** The configuration as the local endpoint's spec: its revision is the configuration. */
async function deploy(skin: Skin, full: string, config: string): Promise<void> {
  const { call, name } = split(skin, full);
  const found = skin.configs.get(config);
  const model = found && skin.models.get(found.model);
  if (!model) throw invalid(`Could not find endpoint configuration "${config}".`);
  const kept = Buffer.from(
    bytesAt(skin, `s3://b/${call.workspace}/endpoints/${name}/${config}.json`),
  );
  const { modelUri, scale } = JSON.parse(kept.toString()) as EndpointSpec;
  const folder = skin.folder(modelUri);
  await unpack(bytesAt(skin, model.archive), folder);
  skin.made.set(full, config);
  await skin.endpoints.deploy(call, {
    name,
    revision: config,
    modelUri: folder,
    env: model.environment,
    scale,
  });
}

/** As SageMaker unpacks it at /opt/ml/model. */
async function unpack(archive: Uint8Array, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, '.model.tar.gz');
  await writeFile(file, archive);
  await promisify(execFile)('tar', ['-xzf', file, '-C', folder]);
}

async function known(skin: Skin, full: string): Promise<EndpointStatus> {
  const { call, name } = split(skin, full);
  const status = await skin.endpoints.describe(call, name);
  if (!status) throw invalid(`Could not find endpoint "${full}".`);
  return status;
}

function statusOf({ state, revision }: EndpointStatus): string {
  if (state === 'creating') return 'Creating';
  if (state === 'updating') return 'Updating';
  return state === 'failed' && revision === undefined ? 'Failed' : 'InService';
}

const ACTIONS: Record<string, (skin: Skin, asked: Fields) => Promise<Fields>> = {
  async CreateModel(skin, asked) {
    const name = text(asked, 'ModelName');
    const { ModelDataUrl, Environment, Image } = asked['PrimaryContainer'] as {
      ModelDataUrl?: string;
      Image?: string;
      Environment?: Record<string, string>;
    };
    if (skin.models.has(name)) throw invalid(`Cannot create already existing model "${name}".`);
    if (!ModelDataUrl?.endsWith('.tar.gz') || !Image)
      throw invalid('A container needs an Image and a ModelDataUrl that ends in .tar.gz.');
    bytesAt(skin, ModelDataUrl);
    skin.models.set(name, { environment: Environment ?? {}, archive: ModelDataUrl });
    return { ModelArn: `arn:aws:sagemaker:eu-central-1:123456789012:model/${name}` };
  },

  async CreateEndpointConfig(skin, asked) {
    const name = text(asked, 'EndpointConfigName');
    const [variant] = asked['ProductionVariants'] as {
      ModelName: string;
      VariantName: string;
      ServerlessConfig?: { MaxConcurrency: number };
    }[];
    if (skin.configs.has(name))
      throw invalid(`Cannot create already existing endpoint configuration "${name}".`);
    if (!variant || !skin.models.has(variant.ModelName)) throw invalid('Could not find model.');
    skin.configs.set(name, {
      model: variant.ModelName,
      concurrency: variant.ServerlessConfig?.MaxConcurrency ?? 1,
      variant: variant.VariantName,
    });
    return { EndpointConfigArn: name };
  },

  async CreateEndpoint(skin, asked) {
    const full = text(asked, 'EndpointName');
    if (skin.made.has(full)) throw invalid(`Cannot create already existing endpoint "${full}".`);
    await deploy(skin, full, text(asked, 'EndpointConfigName'));
    return { EndpointArn: full };
  },

  async UpdateEndpoint(skin, asked) {
    const full = text(asked, 'EndpointName');
    const status = statusOf(await known(skin, full));
    if (status === 'Creating' || status === 'Updating')
      throw invalid(`Cannot update in-progress endpoint "${full}".`);
    if (status === 'Failed') throw invalid(`Cannot update failed endpoint "${full}".`);
    await deploy(skin, full, text(asked, 'EndpointConfigName'));
    return { EndpointArn: full };
  },

  async DescribeEndpoint(skin, asked) {
    const full = text(asked, 'EndpointName');
    const status = await known(skin, full);
    const EndpointStatus = statusOf(status);
    return {
      EndpointName: full,
      EndpointStatus,
      EndpointConfigName: status.revision ?? status.target,
      ...(EndpointStatus === 'Updating'
        ? { PendingDeploymentSummary: { EndpointConfigName: status.target } }
        : {}),
      ...(status.failure ? { FailureReason: status.failure } : {}),
      ProductionVariants: [{ VariantName: 'all', CurrentServerlessConfig: { MaxConcurrency: 1 } }],
    };
  },

  async DeleteEndpoint(skin, asked) {
    const full = text(asked, 'EndpointName');
    await known(skin, full);
    const { call, name } = split(skin, full);
    await skin.endpoints.remove(call, name);
    skin.made.delete(full);
    return {};
  },

  async DeleteEndpointConfig(skin, asked) {
    if (!skin.configs.delete(text(asked, 'EndpointConfigName')))
      throw invalid('Could not find endpoint configuration.');
    return {};
  },

  async DeleteModel(skin, asked) {
    if (!skin.models.delete(text(asked, 'ModelName'))) throw invalid('Could not find model.');
    return {};
  },

  async DescribeLogStreams(skin, asked) {
    if (asked['logStreamNamePrefix'] === '')
      throw new Refusal('InvalidParameterException', 'logStreamNamePrefix: at least 1 character');
    const full = text(asked, 'logGroupName').replace('/aws/sagemaker/Endpoints/', '');
    const { call, name } = split(skin, full);
    const { lines } = await skin.endpoints.logs(call, name);
    return { logStreams: lines.length ? [{ logStreamName: 'all/abc' }] : [] };
  },

  async GetLogEvents(skin, asked) {
    const full = text(asked, 'logGroupName').replace('/aws/sagemaker/Endpoints/', '');
    const { call, name } = split(skin, full);
    const token = asked['nextToken'] as string | undefined;
    const { lines, next } = await skin.endpoints.logs(call, name, token?.slice(2));
    return {
      events: lines.map((message) => ({ message, timestamp: 0 })),
      nextForwardToken: `f/${next}`,
    };
  },
};

async function invoke(
  skin: Skin,
  full: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<undefined> {
  const { call, name } = split(skin, full);
  const body = await bodyOf(request);
  if (!(await skin.endpoints.describe(call, name)))
    return refuse(response, 400, 'ValidationError', { Message: `Endpoint ${full} not found.` });
  try {
    const answer = await skin.endpoints.invoke(call, name, {
      path: '/invocations',
      contentType: String(request.headers['content-type']),
      body,
    });
    const bytes = Buffer.from(await new Response(answer.body as BodyInit).arrayBuffer());
    if (answer.status >= 400)
      return refuse(response, 424, 'ModelError', {
        Message: 'Received client error from primary.',
        OriginalStatusCode: answer.status,
        OriginalMessage: bytes.toString(),
      });
    response.setHeader('content-type', answer.contentType);
    const variant = skin.configs.get(answer.revision ?? '')?.variant;
    if (variant) response.setHeader('x-amzn-invoked-production-variant', variant);
    response.write(bytes);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return refuse(response, 503, 'ServiceUnavailable', { Message: error.message });
  }
  return undefined;
}

function refuse(response: ServerResponse, status: number, type: string, body: Fields): undefined {
  response.statusCode = status;
  response.setHeader('x-amzn-errortype', type);
  response.setHeader('content-type', 'application/json');
  response.write(JSON.stringify(body));
}

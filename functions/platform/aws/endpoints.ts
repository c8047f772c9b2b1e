import { createHash } from 'node:crypto';
import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { S3Client } from '@aws-sdk/client-s3';
import {
  CreateEndpointCommand,
  CreateEndpointConfigCommand,
  type CreateEndpointConfigCommandInput,
  CreateModelCommand,
  type CreateModelCommandInput,
  DeleteEndpointCommand,
  DeleteEndpointConfigCommand,
  DeleteModelCommand,
  DescribeEndpointCommand,
  type DescribeEndpointCommandOutput,
  SageMakerClient,
  UpdateEndpointCommand,
} from '@aws-sdk/client-sagemaker';
import {
  InvokeEndpointCommand,
  ModelError,
  SageMakerRuntimeClient,
} from '@aws-sdk/client-sagemaker-runtime';
import type { Call } from '../../kernel/call.ts';
import { Problem } from '../../kernel/problem.ts';
import type { World } from '../../kernel/world.ts';
import { checkEndpointSpec, checkName } from '../job_spec.ts';
import type {
  Blobs,
  EndpointSpec,
  EndpointState,
  EndpointStatus,
  Endpoints,
  InferenceAnswer,
} from '../ports.ts';
import { archiveOf } from './archive.ts';
import { s3Blobs } from './blobs.ts';
import { isAbsentOf, isTaken, problemOf } from './faults.ts';
import { readStreams } from './logs.ts';
import { cloudName } from './names.ts';

export interface EndpointSettings {
  readonly region: string;
  readonly bucket: string;
  readonly endpointRole: string;
  /**
   * An image in this account's ECR that serves the MLmodel folder at /opt/ml/model (aws.md section 4.5), which none of
   * AWS's published ones does. `mlflow sagemaker build-and-push-container` makes one.
   */
  readonly servingImage?: string;
}
export interface EndpointClients {
  readonly sagemaker: SageMakerClient;
  readonly runtime: SageMakerRuntimeClient;
  readonly logs: CloudWatchLogsClient;
  readonly blobs: Blobs;
}

const clientsOf = ({ bucket }: EndpointSettings): EndpointClients => ({
  sagemaker: new SageMakerClient({}),
  runtime: new SageMakerRuntimeClient({}),
  logs: new CloudWatchLogsClient({}),
  blobs: s3Blobs({ client: new S3Client({}), bucket }),
});

/** A revision as part of a cloud name: a model and an endpoint's configuration are made once for each. */
export const revisionName = (workspace: string, { name, revision }: EndpointSpec): string =>
  cloudName(
    workspace,
    createHash('sha256').update(`${name}\0${revision}`).digest('hex').slice(0, 40),
  );

/**
 * The variant bears its revision's name, since its name is all that SageMaker says of who answered. A revision that is no
 * such name says nothing. Source: SageMaker API, ProductionVariant; InvokeEndpoint, x-Amzn-Invoked-Production-Variant.
 */
export const variantOf = (revision: string): string =>
  /^(?=.{1,61}$)[A-Za-z0-9](-*[A-Za-z0-9])*$/.test(revision) ? `r-${revision}` : 'all';

const answeredBy = (variant: string | undefined): { revision?: string } =>
  variant?.startsWith('r-') ? { revision: variant.slice(2) } : {};

/**
 * `image`: a container that serves an MLmodel folder at /opt/ml/model. `archiveUri`: that folder as a gzipped tar, which
 * SageMaker unpacks there; a folder as it is (ModelDataSource) is not for serverless endpoints.
 * Source: SageMaker API, ContainerDefinition, ModelDataSource. Not verified on an account.
 */
export function modelRequest(
  spec: EndpointSpec,
  modelName: string,
  roleArn: string,
  image: string,
  archiveUri: string,
): CreateModelCommandInput {
  return {
    ModelName: modelName,
    ExecutionRoleArn: roleArn,
    PrimaryContainer: {
      Image: image,
      ModelDataUrl: archiveUri,
      Environment: { ...spec.env },
    },
  };
}

/** Serverless: nothing is billed while nobody asks. A minimum keeps so many copies warm. */
export function configRequest(
  spec: EndpointSpec,
  configName: string,
): CreateEndpointConfigCommandInput {
  const { minimum, maximum, concurrency } = spec.scale;
  const most = Math.min(200, maximum * concurrency);
  return {
    EndpointConfigName: configName,
    ProductionVariants: [
      {
        VariantName: variantOf(spec.revision),
        ModelName: configName,
        ServerlessConfig: {
          MemorySizeInMB: 3072,
          MaxConcurrency: most,
          ...(minimum > 0 ? { ProvisionedConcurrency: Math.min(most, minimum * concurrency) } : {}),
        },
      },
    ],
  };
}

/**
 * Endpoints as serverless SageMaker endpoints. A revision is a model and a configuration named by it, so deploying it
 * twice makes neither twice; UpdateEndpoint keeps the old one answering until the new one does. While one is being
 * changed SageMaker takes no other change: deploy throws `unavailable` with a time to wait. `endpoints/<name>/` in Blobs
 * holds the target and, by configuration, which revision it is and its model's archive.
 */
export function awsEndpoints(
  settings: EndpointSettings,
  world: Pick<World, 'now'>,
  clients?: EndpointClients,
): Endpoints {
  let made = clients;
  const use = () => {
    made ??= clientsOf(settings);
    return made;
  };
  const path = (name: string, file: string) => `endpoints/${name}/${file}.json`;
  const archive = (name: string, config: string) => `endpoints/${name}/${config}.tar.gz`;

  async function pack(call: Call, spec: EndpointSpec, config: string): Promise<string> {
    const { blobs } = use();
    const prefix = blobs.pathOf(call, spec.modelUri)?.replace(/\/?$/, '/');
    if (prefix === undefined)
      throw new Problem('invalid', `${spec.modelUri} is not in this workspace.`, {
        field: 'modelUri',
      });
    await blobs.put(call, archive(spec.name, config), await archiveOf(call, blobs, prefix));
    return blobs.locate(call, archive(spec.name, config));
  }

  async function readSpec(call: Call, file: string): Promise<EndpointSpec | undefined> {
    const blob = await use().blobs.get(call, file);
    return blob && ((await new Response(blob.body).json()) as EndpointSpec);
  }

  async function told(
    call: Call,
    name: string,
  ): Promise<DescribeEndpointCommandOutput | undefined> {
    try {
      const EndpointName = cloudName(call.workspace, name);
      return await use().sagemaker.send(new DescribeEndpointCommand({ EndpointName }));
    } catch (error) {
      if (isAbsentOf(error)) return undefined;
      throw problemOf(error, `Endpoint '${name}'`);
    }
  }

  /** Does it, or finds it done by an earlier attempt. */
  async function once(what: string, act: () => Promise<unknown>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      if (isTaken(error)) return false;
      throw problemOf(error, what);
    }
  }

  async function without(what: string, act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!isAbsentOf(error)) throw problemOf(error, what);
    }
  }

  /** One that never came up cannot be updated, only made anew. Source: SageMaker API, UpdateEndpoint. */
  async function clear(call: Call, name: string): Promise<never> {
    const what = `Endpoint '${name}'`;
    const EndpointName = cloudName(call.workspace, name);
    await without(what, () => use().sagemaker.send(new DeleteEndpointCommand({ EndpointName })));
    throw new Problem('unavailable', `${what} had failed and is being cleared; deploy again.`, {
      retryAfterSeconds: 30,
    });
  }

  /** SageMaker itself gives up after a minute. */
  const left = (call: Call) => Math.min(60_000, Math.max(1, call.deadline - world.now()));

  async function point(call: Call, name: string, config: string, known: boolean): Promise<void> {
    const { sagemaker } = use();
    const names = { EndpointName: cloudName(call.workspace, name), EndpointConfigName: config };
    const what = `Endpoint '${name}'`;
    if (!known && (await once(what, () => sagemaker.send(new CreateEndpointCommand(names)))))
      return;
    try {
      await sagemaker.send(new UpdateEndpointCommand(names));
    } catch (error) {
      if (
        error instanceof Error &&
        /in-?progress|status is not InService|cannot update/i.test(error.message)
      )
        throw new Problem('unavailable', `${what} is still being changed; deploy again later.`, {
          cause: error,
          retryAfterSeconds: 30,
        });
      throw problemOf(error, what);
    }
  }

  return {
    async deploy(call, spec) {
      checkEndpointSpec(spec);
      const { sagemaker, blobs } = use();
      if (blobs.pathOf(call, spec.modelUri) === undefined)
        throw new Problem('invalid', `${spec.modelUri} is not in this workspace.`, {
          field: 'modelUri',
        });
      const config = revisionName(call.workspace, spec);
      const what = `Endpoint '${spec.name}'`;
      const image = settings.servingImage;
      if (!image) throw new Problem('unsupported', `${what}: ${NO_IMAGE}`);
      const known = await told(call, spec.name);
      if (known?.EndpointStatus === 'Failed') return clear(call, spec.name);
      const bytes = Buffer.from(JSON.stringify(spec));
      await blobs.put(call, path(spec.name, config), bytes);
      if (headedFor(known) !== config) {
        const uri = await pack(call, spec, config);
        const model = modelRequest(spec, config, settings.endpointRole, image, uri);
        await once(what, () => sagemaker.send(new CreateModelCommand(model)));
        await once(what, () =>
          sagemaker.send(new CreateEndpointConfigCommand(configRequest(spec, config))),
        );
        await point(call, spec.name, config, known !== undefined);
      }
      await blobs.put(call, path(spec.name, 'target'), bytes);
    },

    async describe(call, name) {
      checkName(name);
      const found = await told(call, name);
      if (!found || found.EndpointStatus === 'Deleting') return undefined;
      const config = found.EndpointConfigName ?? '';
      const [target, current] = await Promise.all([
        readSpec(call, path(name, 'target')),
        config ? readSpec(call, path(name, config)) : undefined,
      ]);
      return statusFrom(name, found, target, current);
    },

    async invoke(call, name, request): Promise<InferenceAnswer> {
      checkName(name);
      if (request.path !== '/invocations')
        throw new Problem('invalid', 'A SageMaker endpoint answers /invocations.', {
          field: 'path',
        });
      try {
        const answer = await use().runtime.send(
          new InvokeEndpointCommand({
            EndpointName: cloudName(call.workspace, name),
            ContentType: request.contentType,
            Body: request.body,
          }),
          { abortSignal: AbortSignal.timeout(left(call)) },
        );
        return {
          status: 200,
          contentType: answer.ContentType ?? 'application/json',
          body: answer.Body ?? new Uint8Array(),
          ...answeredBy(answer.InvokedProductionVariant),
        };
      } catch (error) {
        // The container's own refusal: its status and words are the model's answer.
        if (
          error instanceof ModelError &&
          error.OriginalStatusCode &&
          error.OriginalStatusCode < 500
        )
          return {
            status: error.OriginalStatusCode,
            contentType: 'application/json',
            body: Buffer.from(error.OriginalMessage ?? ''),
          };
        throw invocationProblem(error, name);
      }
    },

    async remove(call, name) {
      checkName(name);
      const { sagemaker, blobs } = use();
      const what = `Endpoint '${name}'`;
      const EndpointName = cloudName(call.workspace, name);
      await without(what, () => sagemaker.send(new DeleteEndpointCommand({ EndpointName })));
      const { blobs: files } = await blobs.list(call, `endpoints/${name}/`);
      for (const { path: file } of files) {
        const config =
          file
            .split('/')
            .at(-1)
            ?.replace(/\.json$/, '') ?? '';
        if (config !== 'target' && !config.endsWith('.tar.gz')) {
          await without(what, () =>
            sagemaker.send(new DeleteEndpointConfigCommand({ EndpointConfigName: config })),
          );
          await without(what, () => sagemaker.send(new DeleteModelCommand({ ModelName: config })));
        }
        await blobs.remove(call, file);
      }
    },

    async logs(call, name, after) {
      checkName(name);
      return readStreams(use().logs, {
        group: `/aws/sagemaker/Endpoints/${cloudName(call.workspace, name)}`,
        prefix: '',
        after,
      });
    },
  };
}

const NO_IMAGE =
  'this installation has no image that serves models; deploy the stacks with -c servingImage=ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG (docs/guides/deploy.md).';

const STATES: Readonly<Record<string, EndpointState>> = {
  Creating: 'creating',
  Updating: 'updating',
  SystemUpdating: 'updating',
  RollingBack: 'updating',
  InService: 'in-service',
  Failed: 'failed',
  OutOfService: 'failed',
  UpdateRollbackFailed: 'failed',
};

/** Where an endpoint is going, else where it stands. Source: SageMaker API, DescribeEndpoint, PendingDeploymentSummary. */
const headedFor = (found: DescribeEndpointCommandOutput | undefined): string | undefined =>
  found?.PendingDeploymentSummary?.EndpointConfigName ?? found?.EndpointConfigName;

function statusFrom(
  name: string,
  found: DescribeEndpointCommandOutput,
  target: EndpointSpec | undefined,
  current: EndpointSpec | undefined,
): EndpointStatus {
  const state = STATES[found.EndpointStatus ?? ''] ?? 'updating';
  const serves = state === 'in-service' || state === 'updating';
  return {
    name,
    revision: serves ? current?.revision : undefined,
    target: target?.revision ?? current?.revision ?? '',
    state,
    ...(found.FailureReason ? { failure: found.FailureReason } : {}),
    // Of a serverless one SageMaker does not say: it is one as long as it answers.
    copies: found.ProductionVariants?.[0]?.CurrentInstanceCount ?? (serves ? 1 : 0),
  };
}

function invocationProblem(error: unknown, name: string): Problem {
  const said = error instanceof Error ? error : undefined;
  if (isAbsentOf(error) || (said?.name === 'ValidationError' && /not found/i.test(said.message)))
    return new Problem('missing', `Endpoint '${name}' not found.`, { cause: error });
  if (said?.name === 'ThrottlingException')
    return new Problem('exhausted', `Endpoint '${name}' answers as many requests as it may.`, {
      cause: error,
      retryAfterSeconds: 1,
    });
  return new Problem('unavailable', `Endpoint '${name}' does not answer now.`, {
    cause: error,
    retryAfterSeconds: 5,
  });
}

import { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { S3Client } from '@aws-sdk/client-s3';
import {
  CreateEndpointCommand,
  CreateEndpointConfigCommand,
  CreateModelCommand,
  DeleteEndpointCommand,
  DeleteEndpointConfigCommand,
  DeleteModelCommand,
  DescribeEndpointCommand,
  type DescribeEndpointCommandOutput,
  SageMakerClient,
  UpdateEndpointCommand,
} from '@aws-sdk/client-sagemaker';
import { SageMakerRuntimeClient } from '@aws-sdk/client-sagemaker-runtime';
import type { Call } from '../../kernel/call.ts';
import { Problem } from '../../kernel/problem.ts';
import type { World } from '../../kernel/world.ts';
import { checkEndpointSpec, checkName } from '../job_spec.ts';
import type { Blobs, EndpointSpec, EndpointStatus, Endpoints } from '../ports.ts';
import { archiveOf } from './archive.ts';
import { s3Blobs } from './blobs.ts';
import { componentStatus, components } from './components.ts';
import { headedFor, statusFrom } from './endpoint_status.ts';
import { isAbsentOf, isTaken, problemOf } from './faults.ts';
import {
  configRequest,
  type HostingPlace,
  hardwareName,
  type Kind,
  kindOf,
  modelRequest,
  revisionName,
  scaledOf,
  scalingRequests,
  wakeName,
} from './hosting.ts';
import { invocations, variantOf } from './invocations.ts';
import { readStreams } from './logs.ts';
import { cloudName } from './names.ts';
import type { Scaling } from './scaling.ts';
import { tagsOf } from './tags.ts';

export interface EndpointSettings {
  readonly region: string;
  readonly bucket: string;
  readonly endpointRole: string;
  /**
   * An image in this account's ECR that serves the MLmodel folder at /opt/ml/model (aws.md section 4.5), which none of
   * AWS's published ones does. `mlflow sagemaker build-and-push-container` makes one.
   */
  readonly servingImage?: string;
  /** A KMS key for the disks of instances; AWS's own without it. */
  readonly volumeKey?: string;
}
export interface EndpointClients {
  readonly sagemaker: SageMakerClient;
  readonly runtime: SageMakerRuntimeClient;
  readonly logs: CloudWatchLogsClient;
  readonly blobs: Blobs;
  /** Loaded when first needed, where it is not given. */
  readonly scaling?: Scaling;
}

const clientsOf = ({ bucket }: EndpointSettings): EndpointClients => ({
  sagemaker: new SageMakerClient({}),
  runtime: new SageMakerRuntimeClient({}),
  logs: new CloudWatchLogsClient({}),
  blobs: s3Blobs({ client: new S3Client({}), bucket }),
});

/**
 * Endpoints as SageMaker endpoints, of the kind that hosting.ts chooses. A revision is a model and a configuration named
 * by it, so deploying it twice makes neither twice; UpdateEndpoint keeps the old one answering until the new one does, and
 * where the model sits in an inference component, UpdateInferenceComponent does. While one is being changed SageMaker takes
 * no other change: deploy throws `unavailable` with a time to wait. What scales an endpoint is made by `complete` once it
 * is in service. `endpoints/<name>/` in Blobs holds the target and, by configuration, which revision it is and its
 * model's archive; `scaled` what scales it; `asked` which model its component was last asked for.
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

  const sagemaker = () => use().sagemaker;
  const parts = components(sagemaker);
  let loading: Promise<Scaling> | undefined;
  const scaling = (): Promise<Scaling> =>
    (loading ??= use().scaling
      ? Promise.resolve(use().scaling as Scaling)
      : import('./scaling.ts').then(({ awsScaling }) => awsScaling()));

  async function keep(call: Call, file: string, kept: object): Promise<void> {
    await use().blobs.put(call, file, Buffer.from(JSON.stringify(kept)));
  }

  async function read<T>(call: Call, file: string): Promise<T | undefined> {
    const blob = await use().blobs.get(call, file);
    return blob && ((await new Response(blob.body).json()) as T);
  }

  /** An update may not take away a variant that is scaled. Source: SageMaker developer guide, "Delete a scaling policy". */
  async function unscale(call: Call, name: string, kind: Kind): Promise<void> {
    if (kind === 'serverless') return;
    const kept = await read<Kept>(call, path(name, 'scaled'));
    if (!kept) return;
    const scaled = scaledOf(kind, call.workspace, name, kept.variant);
    const alarm = kind === 'component' ? wakeName(call.workspace, name) : undefined;
    await worded(name, async () => (await scaling()).remove(scaled, alarm));
    await use().blobs.remove(call, path(name, 'scaled'));
  }

  /** What is about to be made is kept before, so that whoever removes the endpoint finds it. */
  async function scale(call: Call, spec: EndpointSpec, config: string): Promise<void> {
    const file = path(spec.name, 'scaled');
    const variant = variantOf(spec.revision);
    if ((await read<Kept>(call, file))?.config === config) return;
    await keep(call, file, { variant, config: '' } satisfies Kept);
    const requests = scalingRequests(spec, call.workspace, variant);
    await worded(spec.name, async () => (await scaling()).put(requests));
    await keep(call, file, { variant, config } satisfies Kept);
  }

  async function worded(name: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      throw problemOf(error, `Scaling of endpoint '${name}'`);
    }
  }

  /** The component goes to the target's model, once for each deploy: one that has come back is not asked again. */
  async function settle(call: Call, spec: EndpointSpec, config: string): Promise<boolean> {
    const found = await parts.find(call.workspace, spec.name);
    if (!found) await parts.create(call.workspace, spec, config);
    if (found?.InferenceComponentStatus !== 'InService') return false;
    if (found.Specification?.ModelName === config) return true;
    const asked = path(spec.name, 'asked');
    if ((await read<Asked>(call, asked))?.config === config) return false;
    await parts.update(call.workspace, spec, config);
    await keep(call, asked, { config } satisfies Asked);
    return false;
  }

  async function complete(call: Call, name: string): Promise<void> {
    const spec = await readSpec(call, path(name, 'target'));
    if (!spec || kindOf(spec) === 'serverless') return;
    const found = await told(call, name);
    if (found?.EndpointStatus !== 'InService') return;
    const config = revisionName(call.workspace, spec);
    const there =
      kindOf(spec) === 'component'
        ? await settle(call, spec, config)
        : found.EndpointConfigName === config;
    if (there) await scale(call, spec, config);
  }

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

  const readSpec = (call: Call, file: string) => read<EndpointSpec>(call, file);

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

  const placeOf = (call: Call): HostingPlace => ({
    workspace: call.workspace,
    roleArn: settings.endpointRole,
    ...(settings.volumeKey ? { volumeKey: settings.volumeKey } : {}),
  });

  async function hasModel(call: Call, name: string, config: string): Promise<boolean> {
    const found = await parts.find(call.workspace, name);
    return found?.Specification?.ModelName === config;
  }

  async function componentSeen(call: Call, target: EndpointSpec): Promise<EndpointStatus> {
    const { name } = target;
    const specOf = (config?: string) => (config ? readSpec(call, path(name, config)) : undefined);
    const component = await parts.find(call.workspace, name);
    const [asked, scaled, named] = await Promise.all([
      read<Asked>(call, path(name, 'asked')),
      read<Kept>(call, path(name, 'scaled')),
      specOf(component?.Specification?.ModelName),
    ]);
    const before = await specOf(scaled?.config);
    const back = asked?.config === revisionName(call.workspace, target);
    return componentStatus({ target, component, named, before, asked: back });
  }

  async function point(call: Call, name: string, config: string, known: boolean): Promise<void> {
    const { sagemaker } = use();
    const names = { EndpointName: cloudName(call.workspace, name), EndpointConfigName: config };
    const what = `Endpoint '${name}'`;
    if (
      !known &&
      (await once(what, () =>
        sagemaker.send(new CreateEndpointCommand({ ...names, Tags: tagsOf(call.workspace) })),
      ))
    )
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
      const kind = kindOf(spec);
      const [known, before] = await Promise.all([
        told(call, spec.name),
        readSpec(call, path(spec.name, 'target')),
      ]);
      if (known?.EndpointStatus === 'Failed') return clear(call, spec.name);
      if (known && before && kindOf(before) !== kind) throw otherKind(before, spec);
      const endpointConfig = kind === 'component' ? hardwareName(call.workspace, spec) : config;
      const request = configRequest(
        spec,
        placeOf(call),
        { config: endpointConfig, model: config, variant: variantOf(spec.revision) },
        known?.ProductionVariants?.[0]?.CurrentInstanceCount,
      );
      await keep(call, path(spec.name, config), spec);
      const heading = headedFor(known) === endpointConfig;
      const loaded = heading && (kind !== 'component' || (await hasModel(call, spec.name, config)));
      if (!loaded) {
        const uri = await pack(call, spec, config);
        const model = modelRequest(spec, config, placeOf(call), image, uri);
        await once(what, () => sagemaker.send(new CreateModelCommand(model)));
        await blobs.remove(call, path(spec.name, 'asked'));
      }
      if (!heading) {
        if (kind === 'component') await keep(call, path(spec.name, endpointConfig), spec);
        await once(what, () => sagemaker.send(new CreateEndpointConfigCommand(request)));
        if (known && kind === 'instances') await unscale(call, spec.name, kind);
        await point(call, spec.name, endpointConfig, known !== undefined);
      }
      await keep(call, path(spec.name, 'target'), spec);
      // Nobody waits for a revision that is gone back to.
      if (heading) await complete(call, spec.name);
    },

    complete: (call, name) => {
      checkName(name);
      return complete(call, name);
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
      const held = target && kindOf(target) === 'component' ? target : undefined;
      const status = statusFrom(name, found, target, held ? undefined : current);
      if (!held) return status;
      return status.state === 'in-service' ? componentSeen(call, held) : { ...status, copies: 0 };
    },

    invoke: invocations(() => use().runtime, world),

    async remove(call, name, until) {
      checkName(name);
      const { sagemaker, blobs } = use();
      const what = `Endpoint '${name}'`;
      const EndpointName = cloudName(call.workspace, name);
      const target = await readSpec(call, path(name, 'target'));
      if (until !== undefined && target && target.revision > until) return;
      if (target) await unscale(call, name, kindOf(target));
      if (target && kindOf(target) === 'component')
        if (await parts.remove(call.workspace, name))
          throw new Problem('unavailable', `${what} is being taken down; ask again.`, {
            retryAfterSeconds: 30,
          });
      await without(what, () => sagemaker.send(new DeleteEndpointCommand({ EndpointName })));
      const { blobs: files } = await blobs.list(call, `endpoints/${name}/`);
      for (const { path: file } of files) {
        const config =
          file
            .split('/')
            .at(-1)
            ?.replace(/\.json$/, '') ?? '';
        if (!OURS.includes(config) && !config.endsWith('.tar.gz')) {
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

/** Files of an endpoint that are named by no configuration. */
const OURS: readonly string[] = ['target', 'scaled', 'asked'];
/** `config` is empty until all is made. */
interface Kept {
  readonly variant: string;
  readonly config: string;
}
interface Asked {
  readonly config: string;
}

/** Source: SageMaker developer guide, "Serverless endpoints" and "Inference components": they do not become each other. */
const otherKind = (before: EndpointSpec, spec: EndpointSpec) =>
  new Problem(
    'invalid',
    `Endpoint '${spec.name}' is ${WORDS[kindOf(before)]} and would become ${WORDS[kindOf(spec)]}, which SageMaker does not do in place: remove it and deploy it again, or keep its scale.minimum and accelerators.`,
    { field: 'scale' },
  );
const WORDS: Readonly<Record<Kind, string>> = {
  serverless: 'serverless',
  instances: 'one of instances that always run',
  component: 'one of instances that scale to none',
};

const NO_IMAGE =
  'this installation has no image that serves models; deploy the stacks with -c servingImage=ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG (docs/guides/deploy.md).';

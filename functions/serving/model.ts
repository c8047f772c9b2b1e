import * as z from 'zod';

/** Part of execution names and of cloud names: 40 characters and a ULID stay under 70. */
export const EndpointName = z
  .string()
  .max(40, 'must be at most 40 characters')
  .regex(/^[A-Za-z0-9](-?[A-Za-z0-9])*$/, 'must be letters, digits and single dashes between them');

/** `models:/churn/3` or `models:/churn@champion`. */
const ModelUri = z
  .string()
  .max(600, 'must be at most 600 characters')
  .regex(
    /^models:\/[^/@:\s]{1,255}(\/[1-9]\d{0,8}|@[\p{L}\p{N}_-]{1,255})$/u,
    'must be models:/<name>/<version> or models:/<name>@<alias>',
  );

/** What a model URI names. Exactly one of `version` and `alias` is set. */
export interface ModelReference {
  readonly name: string;
  readonly version?: number;
  readonly alias?: string;
}

export function readModelUri(uri: string): ModelReference {
  const [, name = '', version, alias] = /^models:\/([^/@]+)(?:\/(\d+)|@(.+))$/.exec(uri) ?? [];
  return alias === undefined ? { name, version: Number(version) } : { name, alias };
}

/** The URI of the same version or alias under the model's new name. */
export function renamedUri(uri: string, name: string): string {
  const { version, alias } = readModelUri(uri);
  return alias === undefined ? `models:/${name}/${version}` : `models:/${name}@${alias}`;
}

export const Scale = z
  .strictObject({
    minimum: z.int().min(0).max(100).default(0),
    maximum: z.int().min(1).max(100).default(1),
    concurrency: z.int().min(1).max(1000).default(8),
    idleSeconds: z.int().min(10).max(86_400).default(300),
  })
  .refine(({ minimum, maximum }) => minimum <= maximum, {
    path: ['minimum'],
    message: 'must not be above maximum',
  });
export type Scale = z.infer<typeof Scale>;

/** What a caller may say about an endpoint. */
export const EndpointAsked = z.strictObject({
  model: ModelUri,
  scale: Scale.default(() => Scale.parse({})),
});
export type EndpointAsked = z.infer<typeof EndpointAsked>;

/** A registered version and where its MLmodel folder lies. */
export const ServedVersion = z.object({
  name: z.string(),
  version: z.int(),
  source: z.string(),
});
export type ServedVersion = z.infer<typeof ServedVersion>;

const Tensor = z.object({ name: z.string(), type: z.string(), shape: z.array(z.int()) });
/** A model's signature as far as serving needs it: columns of a table, or tensors. */
export const Signature = z.object({
  kind: z.enum(['columns', 'tensors']),
  inputs: z.array(Tensor),
  outputs: z.array(Tensor),
});
export type Signature = z.infer<typeof Signature>;

const Why = z.enum(['asked', 'alias', 'rollback']);
export type Why = z.infer<typeof Why>;

/** What starts the machine `deploy-endpoint`; `deployment` is the ULID that also names the revision. */
export const Deployment = z.object({
  endpoint: EndpointName,
  deployment: z.string().regex(/^[0-9A-HJKMNP-TV-Z]{26}$/),
  why: Why,
  /** The revision to go back to. */
  to: z.string().optional(),
});
export type Deployment = z.infer<typeof Deployment>;

/** What `registry.alias.set` tells, as far as serving reads it. */
export const AliasMoved = z.object({ name: z.string(), alias: z.string() });

/** What `registry.model.renamed` tells. */
export const Renamed = z.object({ name: z.string(), newName: z.string() });

/** What `registry.version.deleted`, `registry.model.deleted` and `registry.alias.removed` tell, as far as serving reads it. */
export const Withdrawn = z.object({ name: z.string() });

export const Revision = z.object({
  endpoint: z.string(),
  /** A ULID. */
  revision: z.string(),
  /** The model URI it was deployed for. */
  model: z.string(),
  served: ServedVersion,
  signature: Signature.optional(),
  state: z.enum(['pending', 'in-service', 'superseded', 'failed']),
  why: Why,
  failure: z.string().optional(),
  /** The revision that one rollback from here goes back to. */
  previous: z.string().optional(),
  startedAt: z.number(),
  inServiceAt: z.number().optional(),
});
export type Revision = z.infer<typeof Revision>;

/** An endpoint as it lies in the table: all that routing needs, so that one query fills it. */
export const Endpoint = z.object({
  name: z.string(),
  model: z.string(),
  scale: Scale,
  /** Moves with every change; each change is conditional on it. */
  generation: z.int(),
  /** The newest deployment that a caller asked for. */
  asked: z.string(),
  /** Set until `asked` has become the target, or has failed before; `to` where it is a rollback. */
  pending: z.object({ to: z.string().optional() }).optional(),
  /** The deployment that named the model: a rename that is older than it is about another. */
  modelAsked: z.string().optional(),
  /** The revision being brought up, and the version it serves. Equal to `current` when nothing is under way. */
  target: z.string().optional(),
  wanted: ServedVersion,
  /** The revision that answers, and what it serves. */
  current: z.string().optional(),
  served: ServedVersion.optional(),
  signature: Signature.optional(),
  state: z.enum(['deploying', 'in-service', 'failed']),
  /** Why the last deployment did not come up; the old revision still answers. */
  failure: z.string().optional(),
  /** Why what answers could not be deployed anew: the registry has it no longer. It answers all the same. */
  withdrawn: z.string().optional(),
  createdAt: z.number(),
  updatedAt: z.number(),
});
export type Endpoint = z.infer<typeof Endpoint>;

export const LIMITS = {
  endpoints: 1000,
  /** Source: SageMaker's hosting contract, 25 MB a request (aws.md section 4.5). */
  bodyBytes: 25_000_000,
  /** Real-time endpoints answer within a minute (kube.md section 4.3). */
  timeoutSeconds: 60,
  /** A routing record older than this is read again. */
  routingAgeMs: 5_000,
  /** And one older than this where it looks wrong: a refused request costs at most one read a second. */
  routingRecentMs: 1_000,
  mlmodelBytes: 1_000_000,
} as const;

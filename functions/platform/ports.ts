import type { Call } from '../kernel/call.ts';
import type { Event, Told } from '../kernel/event.ts';
import type { Json } from '../kernel/json.ts';
import type { World } from '../kernel/world.ts';

/**
 * All we ask of the world. Ports are few, narrow and worded in our terms; test/contracts/ holds every adapter to the
 * promises written here. Every method may throw `unavailable` once `call.deadline` has passed or the world is down.
 */
export interface Platform {
  readonly world: World;
  readonly table: Table;
  readonly blobs: Blobs;
  readonly machines: Machines;
  readonly jobs: Jobs;
  readonly endpoints: Endpoints;
  /** Absent where dead letters lie in queues of the account's own, which list and redrive them. */
  readonly letters?: DeadLetters;
  /** Signs page tokens; 32 bytes, made once per installation, never shown. */
  readonly secret: Uint8Array;
  /** `http://127.0.0.1:5000`: where steps and people reach this installation. */
  readonly url: string;
  /** `proxy`: artifact URIs are `mlflow-artifacts:/..` and bytes come through us; `direct`: they are `Blobs.locate`'s. */
  readonly artifacts: 'proxy' | 'direct';
}

// ---------------------------------------------------------------- Table

export interface Key {
  readonly pk: string;
  readonly sk: string;
}
export type Value =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Value[]
  | { readonly [name: string]: Value };
/**
 * At most 400 KB. Numbers are finite, |n| in 0 or [1e-130, 9.9e125], at most 38 digits: anything else goes into bytes
 * or text. Keys are not empty; pk at most 1,900 bytes, sk at most 1,000. Attribute names starting with `_` are the
 * adapters'. `expiresAt` (ms since the epoch), where given, is when the item counts as absent.
 */
export type Item = Key & { readonly [name: string]: Value | undefined };

/**
 * Conditions are data: one adapter prints expressions, the other evaluates them.
 * `equal`: the item is there and each attribute has this value. `newer`: the item, or the attribute, is absent, or
 * the stored number is smaller than the one given.
 */
export type Condition =
  | 'absent'
  | 'present'
  | { readonly equal: Readonly<Record<string, string | number | boolean>> }
  | { readonly newer: Readonly<Record<string, number>> };

export type Write =
  | { readonly put: Item; readonly if?: Condition }
  | { readonly remove: Key; readonly if?: Condition }
  | { readonly check: Key; readonly if: Condition };

export interface Query {
  readonly pk: string;
  /** Only sort keys that begin so. */
  readonly prefix?: string;
  /** Only sort keys after this one, or before it with `reverse`. */
  readonly after?: string;
  /** Only sort keys up to and including this one; not with `reverse`. */
  readonly until?: string;
  readonly reverse?: boolean;
  /** At most this many items; 1 MB of items ends a page earlier. */
  readonly limit?: number;
}

export interface Found {
  readonly items: Item[];
  /** Set if there may be more: give it as `after`. A page may be empty and still have one. */
  readonly next?: string;
}

/** What a commit may ask beside its writes. */
export interface CommitOptions {
  /** Moves the workspace's change counter and stamps its value on every put as `_change`. For kinds that are watched. */
  readonly counted?: boolean;
}

/** Thrown by `commit` when a condition does not hold; `index` counts the writes given. Nothing has landed. */
export class Refused extends Error {
  readonly index: number;
  constructor(index: number) {
    super(`write ${index} was refused by its condition`);
    this.name = 'Refused';
    this.index = index;
  }
}

/** Thrown by `commit` when `call.retry` was recorded by an earlier request: nothing has landed, the hallway answers. */
export class Repeated extends Error {
  constructor() {
    super('this Idempotency-Key has been used');
    this.name = 'Repeated';
  }
}

/** Where records live: DynamoDB in an account, one lmdb file on a laptop. Keys are the workspace's own. */
export interface Table {
  /** Reads every commit acknowledged before it. */
  get(call: Call, key: Key): Promise<Item | undefined>;
  /** Up to 1,000 keys; absent items are left out, order is not kept. Reads like `get`. */
  getMany(call: Call, keys: readonly Key[]): Promise<Item[]>;
  /** One page in sort-key order (UTF-8 bytes). Reads like `get`. */
  query(call: Call, query: Query): Promise<Found>;
  /**
   * All writes and the event land, or none do and it throws `Refused`. At most 97 writes, 4 MB, no key twice.
   * Durable when it resolves. A conflict with another commit is retried inside until the deadline.
   * With an event: the audit entry is chained to the subject's last one in the same commit, and every follower
   * hears it. With `call.retry` and an event: the record of the key lands too, or it throws `Repeated`.
   */
  commit(
    call: Call,
    writes: readonly Write[],
    event?: Event,
    options?: CommitOptions,
  ): Promise<void>;
  /** The audit entries of one subject, oldest first. */
  entries(call: Call, subject: string, after?: string): Promise<{ entries: Told[]; next?: string }>;
  /** The answer recorded under an Idempotency-Key in the last 48 hours. Throws `invalid` if for another digest. */
  repeated(call: Call): Promise<{ answer: unknown } | undefined>;
}

/** What `getMany` takes at once. */
const KEYS_AT_ONCE = 1000;

/** Of any number of keys the items that are there, in no promised order. */
export async function getAll(table: Table, call: Call, keys: readonly Key[]): Promise<Item[]> {
  const found: Item[] = [];
  for (let at = 0; at < keys.length; at += KEYS_AT_ONCE)
    found.push(...(await table.getMany(call, keys.slice(at, at + KEYS_AT_ONCE))));
  return found;
}

/** Every page of a query, item by item. */
export async function* queryAll(table: Table, call: Call, query: Query): AsyncGenerator<Item> {
  let after = query.after;
  do {
    const page: Found = await table.query(call, after === undefined ? query : { ...query, after });
    yield* page.items;
    after = page.next;
  } while (after !== undefined);
}

/** A commit takes 97 writes; some are left for what the adapter adds. */
const REMOVED_AT_ONCE = 90;

/**
 * Removes what has these keys, of a list or of `queryAll`, in commits of a bounded size, each of which tells the event.
 * Who dies in between begins again: what is gone is no trouble.
 */
export async function removeAll(
  table: Table,
  call: Call,
  keys: Iterable<Key> | AsyncIterable<Key>,
  event?: Event,
): Promise<void> {
  let removes: Write[] = [];
  for await (const { pk, sk } of keys) {
    removes.push({ remove: { pk, sk } });
    if (removes.length < REMOVED_AT_ONCE) continue;
    await table.commit(call, removes, event);
    removes = [];
  }
  if (removes.length) await table.commit(call, removes, event);
}

/** How many items a query finds, counted no further than `limit`: a page ends at 1 MB, however many it may hold. */
export async function countUpTo(
  table: Table,
  call: Call,
  query: Query,
  limit: number,
): Promise<number> {
  let count = 0;
  for await (const _ of queryAll(table, call, { ...query, limit })) {
    count += 1;
    if (count >= limit) break;
  }
  return count;
}

// ---------------------------------------------------------------- Blobs

export interface BlobHead {
  readonly path: string;
  readonly sizeBytes: number;
  /** Opaque; changes whenever the bytes do. */
  readonly etag: string;
  /** Milliseconds since the epoch. */
  readonly modifiedAt: number;
}
export interface Blob extends BlobHead {
  readonly body: ReadableStream<Uint8Array>;
}
export interface BlobPage {
  readonly blobs: BlobHead[];
  /** With `folders`: names directly below the prefix that hold more, ending in `/`. */
  readonly folders: string[];
  readonly next?: string;
}
export type BlobCondition = 'absent' | { readonly unchanged: string };
/** The headers that a signed GET answers with. */
export interface ShownAs {
  readonly contentType: string;
  readonly contentDisposition: string;
}

/**
 * Bytes by path: S3, or a folder. A path is `/`-separated segments that passed `kernel/path.ts`; adapters check it
 * again. A put is all or nothing and durable when it resolves; a reader sees the old bytes or the new, never a mix.
 */
export interface Blobs {
  /** Throws `conflict` when the condition does not hold; `too_large` beyond 5 GB. */
  put(
    call: Call,
    path: string,
    body: Uint8Array | ReadableStream<Uint8Array>,
    condition?: BlobCondition,
  ): Promise<BlobHead>;
  head(call: Call, path: string): Promise<BlobHead | undefined>;
  /** `range`: first byte and last byte, both inclusive, clipped to the end. */
  get(
    call: Call,
    path: string,
    range?: { first: number; last?: number },
  ): Promise<Blob | undefined>;
  /** In path order, at most 1,000 a page. `prefix` ends in `/` or is empty. */
  list(
    call: Call,
    prefix: string,
    options?: { folders?: boolean; after?: string; limit?: number },
  ): Promise<BlobPage>;
  /** Idempotent. */
  remove(call: Call, path: string): Promise<void>;
  /** A URL that lets its holder do this one thing for at most 15 minutes. PUT makes a new blob only. */
  sign(
    call: Call,
    path: string,
    method: 'GET' | 'PUT',
    expiresSeconds: number,
    shown?: ShownAs,
  ): Promise<string>;
  /**
   * Set where a gateway before us passes on no larger answer, in bytes, and clients reach the store themselves:
   * downloads are then redirected to what `sign` gives.
   */
  readonly largestAnswerBytes?: number;
  /** Multipart: parts 1 to 10,000 of 5 MB or more, but the last. */
  startUpload(call: Call, path: string): Promise<string>;
  signPart(call: Call, path: string, upload: string, part: number): Promise<string>;
  /** Throws `invalid` if a part is missing or an etag differs; the blob is absent till then. */
  completeUpload(
    call: Call,
    path: string,
    upload: string,
    parts: readonly { part: number; etag: string }[],
  ): Promise<BlobHead>;
  abortUpload(call: Call, path: string, upload: string): Promise<void>;
  /** Where a job or a model server reads and writes this prefix: `s3://bucket/ws/..`, or an absolute folder. */
  locate(call: Call, prefix: string): string;
  /** The path inside this workspace that a located URI names, or undefined. */
  pathOf(call: Call, uri: string): string | undefined;
}

// ---------------------------------------------------------------- Bus

/** Idempotent by `told.id`: it may hear an event twice, late, or out of order. Throwing means: again later. */
export interface Follower {
  /** `triggers-rules`: names its cursor or queue; never reused. */
  readonly name: string;
  /** Event types, `*` at the end for a prefix. */
  readonly hears: readonly string[];
  /** It serves only its own process: the bus inside one delivers to it, and a stack makes no queue for it. */
  readonly here?: true;
  run(call: Call, told: Told): Promise<void>;
  /** Where given, it hears at once what has gathered in one workspace, instead of one event after the other. */
  runMany?(call: Call, heard: readonly Told[]): Promise<void>;
}

/**
 * Delivers each event to each follower that hears it, at least once, and goes on after a restart. A failing delivery
 * is retried with back-off and at last set aside (a dead letter), so that it does not hold up later ones.
 */
export interface Bus {
  publish(entries: readonly Told[]): Promise<void>;
}

/** A delivery that failed each time it was tried and was set aside. */
export interface DeadLetter {
  /** One segment of a path. */
  readonly id: string;
  readonly follower: string;
  /** Absent for what a `Folder` could not fold. */
  readonly event?: Told;
  readonly attempts: number;
  readonly error: string;
  /** When it was last tried; milliseconds since the epoch. */
  readonly at: number;
}

/** What the bus of this installation has set aside of a workspace's deliveries. */
export interface DeadLetters {
  /** At most 100 a page, in the order of their ids. */
  list(call: Call, after?: string): Promise<{ letters: DeadLetter[]; next?: string }>;
  /**
   * Delivers it once more and forgets it when that works. Throws `missing`, and `precondition` when the follower fails
   * again (it is kept) or exists no more.
   */
  replay(call: Call, id: string): Promise<DeadLetter>;
}

/** Hears items that were put and are not events: the log entries that the compactor folds. Same promises as Bus. */
export interface Folder {
  readonly name: string;
  /** Only items whose sort key begins so. */
  readonly prefix: string;
  fold(call: Call, items: readonly Item[]): Promise<void>;
}

// ---------------------------------------------------------------- Machines

export type MachineState = 'RUNNING' | 'SUCCEEDED' | 'FAILED' | 'TIMED_OUT' | 'ABORTED';

export interface Execution {
  readonly machine: string;
  readonly execution: string;
  readonly state: MachineState;
  readonly input: Json;
  readonly output?: Json;
  readonly error?: string;
  readonly cause?: string;
  readonly startedAt: number;
  readonly endedAt?: number;
}

/** As Step Functions words it: `TaskStateEntered`, `ExecutionSucceeded`, with `previousEventId`. */
export interface HistoryEvent {
  readonly id: number;
  readonly previousEventId: number;
  readonly type: string;
  readonly timestamp: number;
  readonly details: { readonly [name: string]: Json | undefined };
}

/**
 * State machines in Amazon States Language with JSONata. Written machines (statemachines/*.asl.json) exist in both
 * worlds under their own names; generated ones are named by content.
 * When an execution ends, the bus delivers `machines.execution.ended` with `{machine, execution, state, error, cause,
 * output}`, subject `executions/<execution>`, at least once.
 */
export interface Machines {
  /** Idempotent for the same text, under a name of at most 68 characters. Throws `conflict` for another text under it. */
  define(call: Call, name: string, definition: Json): Promise<void>;
  /** Idempotent; running executions go on to their end. */
  remove(call: Call, name: string): Promise<void>;
  /** Starts once by execution name (at most 70 characters). Throws `exists` if it runs or ran with another input. */
  start(call: Call, machine: string, execution: string, input: Json): Promise<void>;
  /** Idempotent; ends ABORTED. Jobs that its tasks started are stopped. */
  stop(call: Call, machine: string, execution: string, reason: string): Promise<void>;
  describe(call: Call, machine: string, execution: string): Promise<Execution | undefined>;
  /** What `states:startExecution.sync:2` of another machine needs to start this one, once by name. */
  address(
    call: Call,
    machine: string,
    execution: string,
  ): { StateMachineArn: string; Name: string };
  /** In order, at most 1,000 a page. */
  history(
    call: Call,
    machine: string,
    execution: string,
    afterId?: number,
  ): Promise<HistoryEvent[]>;
  definition(call: Call, machine: string): Promise<Json | undefined>;
}

/**
 * What a machine's `lambda:invoke` of one of our functions runs; each may run twice and do no harm. The call's
 * workspace is the first 8 characters of the execution's name, which only our machines set.
 */
export type Task = (call: Call, input: Json) => Promise<Json>;

// ---------------------------------------------------------------- Jobs

export interface JobChannel {
  readonly name: string;
  /** As `Blobs.locate` words it. */
  readonly uri: string;
}

export interface JobSpec {
  /** At most 51 characters of [a-zA-Z0-9-]; the retry key. */
  readonly name: string;
  /** One of both. `interpreter`: our pinned Python with kfp and mlflow importable. */
  readonly interpreter?: 'python';
  readonly image?: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Put at `input/data/<name>` before the start. */
  readonly inputs: readonly JobChannel[];
  /** What lies in `output/<name>` at the end goes there. */
  readonly outputs: readonly JobChannel[];
  readonly resources: {
    readonly cpus?: number;
    readonly memoryBytes?: number;
    /** `nvidia.com/gpu`, a card (`A100`), `aws.amazon.com/neuron`; `count` on each node. */
    readonly accelerator?: { readonly type: string; readonly count: number };
    /** `fast`: nodes of one job talk over the fastest network that the runner has (EFA). */
    readonly network?: 'fast';
    /** May be stopped when others pay more, and started again from `checkpoint`. Cheaper, and it may have to wait. */
    readonly spot?: boolean;
    /** Machines are kept so long after the end for a next job that asks for the same; billed meanwhile. */
    readonly keepAliveSeconds?: number;
    /**
     * Forces a runner of ARCHITECTURE's table. `processing` is SageMaker too, as a processing job: no checkpoint, no
     * metrics, at most 7 days, 8 inputs and 10 outputs. `batch` is the cluster that an installation was given
     * (lib/eks-jobs.ts). Only who asks for these two gets them.
     */
    readonly runner?: 'lambda' | 'sagemaker' | 'processing' | 'batch';
  };
  readonly nodes: number;
  /** A prefix that survives a restart of the job. */
  readonly checkpoint?: string;
  readonly deadlineSeconds: number;
  /** Read off the log: the first group is the number. */
  readonly metrics?: readonly { readonly name: string; readonly regex: string }[];
}

export type JobState = 'pending' | 'running' | 'succeeded' | 'failed' | 'stopped';

export interface Job {
  readonly name: string;
  readonly state: JobState;
  readonly exitCode?: number;
  /** The first 1,024 characters of the container's failure file, or why it never ran. */
  readonly failure?: string;
  readonly startedAt?: number;
  readonly endedAt?: number;
  readonly metrics: readonly {
    readonly name: string;
    readonly value: number;
    readonly at: number;
  }[];
}

/** One job or many nodes of one. The container contract is SageMaker's training contract (aws.md section 4). */
export interface Jobs {
  /** Idempotent by name: a second submit of a name finds the first job, whatever its spec. Throws `invalid`. */
  submit(call: Call, spec: JobSpec): Promise<Job>;
  /**
   * Keeps the spec and returns what the job state of a machine passes on to start it: the payload of the function
   * `stillflow-run-step` (runner `lambda`), or the arguments of `sagemaker:createTrainingJob.sync`,
   * `sagemaker:createProcessingJob.sync` or `batch:submitJob.sync` (runners `sagemaker`, `processing` and `batch`).
   * Idempotent by name.
   */
  prepare(call: Call, spec: JobSpec): Promise<Json>;
  describe(call: Call, name: string): Promise<Job | undefined>;
  /** SIGTERM, and SIGKILL 120 s later. Idempotent. */
  stop(call: Call, name: string): Promise<void>;
  /** Lines after `after`, oldest first, also while it runs. */
  logs(call: Call, name: string, after?: string): Promise<{ lines: string[]; next: string }>;
}

// ---------------------------------------------------------------- Endpoints

export interface EndpointSpec {
  /** At most 51 characters of [a-zA-Z0-9-]. */
  readonly name: string;
  /** Names what is served; a deploy of another revision replaces it without dropping a request. */
  readonly revision: string;
  /** Where the MLmodel folder lies, as `Blobs.locate` words it. */
  readonly modelUri: string;
  readonly env: Readonly<Record<string, string>>;
  readonly scale: {
    /** 0: stopped while nobody asks; the first request starts it and is held meanwhile. */
    readonly minimum: number;
    readonly maximum: number;
    /** Requests at once that one copy is meant for. */
    readonly concurrency: number;
    readonly idleSeconds: number;
  };
  /** Of each copy. With an accelerator no endpoint is serverless. */
  readonly resources?: {
    readonly cpus?: number;
    readonly memoryBytes?: number;
    readonly accelerator?: { readonly type: string; readonly count: number };
  };
}

export type EndpointState = 'creating' | 'in-service' | 'updating' | 'failed' | 'stopped';

export interface EndpointStatus {
  readonly name: string;
  /** The one that answers now. */
  readonly revision: string | undefined;
  /** The one asked for. */
  readonly target: string;
  readonly state: EndpointState;
  readonly failure?: string;
  readonly copies: number;
}

export interface InferenceRequest {
  /** `/invocations` or `/ping`. */
  readonly path: string;
  readonly contentType: string;
  readonly body: Uint8Array;
}
export interface InferenceAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: ReadableStream<Uint8Array> | Uint8Array;
  /** The revision that gave this answer, while one takes over from another too; absent where the host does not say. */
  readonly revision?: string;
}

/** Model servers that speak SageMaker's hosting contract (aws.md section 4.5). */
export interface Endpoints {
  /** Idempotent by name and revision; returns at once. The old revision answers until the new one passes its ping. */
  deploy(call: Call, spec: EndpointSpec): Promise<void>;
  describe(call: Call, name: string): Promise<EndpointStatus | undefined>;
  /**
   * Does what `deploy` could not do at once, and changes nothing where all is done: whoever waits for `describe` to say
   * in-service calls it each time before. Absent where `deploy` is all.
   */
  complete?(call: Call, name: string): Promise<void>;
  /** Throws `missing`, `unavailable` with a time to wait, or `exhausted`. */
  invoke(call: Call, name: string, request: InferenceRequest): Promise<InferenceAnswer>;
  /**
   * Idempotent. With `until`, only if the newest revision asked for sorts no later: one that was made again under the
   * name meanwhile stays.
   */
  remove(call: Call, name: string, until?: string): Promise<void>;
  logs(call: Call, name: string, after?: string): Promise<{ lines: string[]; next: string }>;
}

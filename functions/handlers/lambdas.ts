import type { Context, SQSBatchResponse, SQSEvent } from 'aws-lambda';
import { hallwaySteps } from '../hallway.ts';
import { type Call, systemCall } from '../kernel/call.ts';
import type { Told } from '../kernel/event.ts';
import { mount, secured } from '../kernel/hallway.ts';
import { DEFAULT_WORKSPACE, WorkspaceId } from '../kernel/ids.ts';
import type { Json } from '../kernel/json.ts';
import { asProblem, Problem } from '../kernel/problem.ts';
import type { Platform } from '../platform/ports.ts';
import type { Room } from '../room.ts';
import { workspacesServiceOf } from '../workspaces/index.ts';
import { type GatewayEvent, requestOf, resultOf } from './gateway.ts';
import { authorizerOf, findingsOf, identityOf } from './identity.ts';
import { streamed } from './stream.ts';

type Base = Pick<Platform, 'table' | 'world'>;

const log = (line: Record<string, unknown>) => console.log(JSON.stringify(line));
const noPath = () =>
  secured(new Response('A path may not hold . or .. segments.\n', { status: 400 }));

/** The entries of a room's Lambdas: HTTP, the streaming front, its followers, its machines' tasks. */
export function lambdas(room: Room, platform: Base) {
  // What the gateway found lies beside the headers, where no one can forge it.
  const found = new WeakMap<Headers, unknown>();
  const whole = mount(room.routes, {
    ...hallwaySteps(platform, async (headers) => identityOf(found.get(headers))),
    guard,
    log,
  });
  // Behind a function URL no authorizer has looked at the request: the token is checked here, by the same words.
  const workspaces = workspacesServiceOf(platform);
  const streaming = mount(
    room.routes.filter(({ streams }) => streams),
    {
      ...hallwaySteps(platform, async (headers) =>
        identityOf({ lambda: await findingsOf(headers, workspaces) }),
      ),
      guard,
      log,
    },
  );

  return {
    async http(event: GatewayEvent) {
      const request = requestOf(event);
      if (!request) return resultOf(noPath());
      found.set(request.headers, authorizerOf(event));
      return resultOf(await whole.fetch(request));
    },

    stream: streamed(async (event) => {
      const request = requestOf(event);
      return request ? streaming.fetch(request) : noPath();
    }),

    follow: (event: SQSEvent, context: Context) => follow(room, platform, event, context),
    task: (input: Json, context: Context) => perform(room, platform, input, context),
  };
}

/** What EventBridge Scheduler runs by the clock of a room, for the one workspace that there is. */
export function minute(tick: (call: Call) => Promise<unknown>, { world }: Base, name = 'triggers') {
  return async (_event: unknown, context: Context): Promise<void> => {
    const deadline = world.now() + context.getRemainingTimeInMillis();
    await tick(systemCall(DEFAULT_WORKSPACE, name, context.awsRequestId, deadline));
  };
}

/** The gateway answers to its own host only; a page of another origin may read, and change nothing. */
function guard(request: Request): string {
  const { origin } = new URL(request.url);
  const reads = request.method === 'GET' || request.method === 'HEAD';
  const from = request.headers.get('origin');
  if (!reads && from !== null && from.toLowerCase() !== origin)
    throw new Problem('denied', 'Cross-origin request blocked');
  return origin;
}

/** One batch of one follower's queue: what fails comes again, what ran does not. */
async function follow(
  room: Room,
  { world }: Base,
  event: SQSEvent,
  context: Context,
): Promise<SQSBatchResponse> {
  const name = process.env['STILLFLOW_FOLLOWER'];
  const follower = room.followers.find((one) => one.name === name);
  if (!follower) throw new Error(`This room has no follower '${name}'`);
  const batchItemFailures: { itemIdentifier: string }[] = [];
  const failed = (error: unknown, messageIds: readonly string[]) => {
    for (const messageId of messageIds) {
      log({ level: 'error', follower: name, messageId, error: String(error) });
      batchItemFailures.push({ itemIdentifier: messageId });
    }
  };
  const callOf = (workspace: WorkspaceId, id: string) =>
    systemCall(workspace, follower.name, id, world.now() + context.getRemainingTimeInMillis());
  const gathered = new Map<WorkspaceId, { told: Told; messageId: string }[]>();
  for (const { body, messageId } of event.Records) {
    try {
      const told = JSON.parse(body) as Told;
      const workspace = WorkspaceId.parse(told.workspace);
      const together = gathered.get(workspace) ?? [];
      if (follower.runMany) gathered.set(workspace, [...together, { told, messageId }]);
      else await follower.run(callOf(workspace, told.id), told);
    } catch (error) {
      failed(error, [messageId]);
    }
  }
  for (const [workspace, heard] of gathered) {
    const call = callOf(workspace, context.awsRequestId);
    const tolds = heard.map(({ told }) => told);
    await follower.runMany?.(call, tolds).catch((error: unknown) =>
      failed(
        error,
        heard.map(({ messageId }) => messageId),
      ),
    );
  }
  return { batchItemFailures };
}

/**
 * One task of a machine. Whose it is stands in the execution's name, which only our machines set. A `Problem` leaves
 * under the name that machines catch. Source: statemachines/resources.ts, `problemError`.
 */
async function perform(room: Room, { world }: Base, input: Json, context: Context): Promise<Json> {
  const name = process.env['STILLFLOW_TASK'] ?? '';
  const task = Object.hasOwn(room.tasks, name) ? room.tasks[name] : undefined;
  if (!task) throw new Error(`This room has no task '${name}'`);
  const execution = String((input as { execution?: Json } | null)?.execution ?? '');
  const workspace = WorkspaceId.parse(execution.slice(0, 8));
  const deadline = world.now() + context.getRemainingTimeInMillis();
  try {
    return await task(systemCall(workspace, name, context.awsRequestId, deadline), input);
  } catch (error) {
    const problem = asProblem(error);
    if (problem.code === 'internal') throw error;
    throw Object.assign(new Error(problem.message), { name: `Problem.${problem.code}` });
  }
}

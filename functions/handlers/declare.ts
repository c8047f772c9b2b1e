import type { CloudFormationCustomResourceEvent, Context } from 'aws-lambda';
import * as z from 'zod';
import { systemCall } from '../kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../kernel/ids.ts';
import type { Json } from '../kernel/json.ts';
import { asProblem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import type { Room } from '../room.ts';

/** What lib/constructs/declare.ts puts into a template: `Declaration` is JSON, since CloudFormation makes all values text. */
const Asked = z.object({
  Kind: z.string(),
  Name: z.string().min(1),
  Declaration: z.string(),
  /** Filled in by CloudFormation, so it cannot stand inside the JSON. */
  MachineVersion: z.string().optional(),
});

interface Answer {
  readonly Status: 'SUCCESS' | 'FAILED';
  readonly Reason?: string;
  readonly PhysicalResourceId: string;
  readonly Data?: Readonly<Record<string, string>>;
}

/** The name of what was never made: CloudFormation removes that too, and nothing must go. */
const NOT_MADE = 'not-made';

/**
 * One custom resource of a stack. CloudFormation waits for an hour for what is put to its address, so every end is told
 * there; an invocation that dies before is made again, which does no harm.
 * Source: AWS CloudFormation user guide, "Custom resource response objects".
 */
export function declaring(declared: Room['declared'], world: World) {
  return async (event: CloudFormationCustomResourceEvent, context: Context): Promise<void> => {
    const { StackId, RequestId, LogicalResourceId, ResponseURL } = event;
    const answer = await answered(event, context).catch((error: unknown): Answer => {
      const { code, message } = asProblem(error);
      console.log(
        JSON.stringify({ level: 'error', declared: LogicalResourceId, error: `${error}` }),
      );
      return {
        Status: 'FAILED',
        Reason: `${code}: ${message}`.slice(0, 1000),
        PhysicalResourceId: event.RequestType === 'Create' ? NOT_MADE : event.PhysicalResourceId,
      };
    });
    await tell(ResponseURL, { ...answer, StackId, RequestId, LogicalResourceId });
  };

  async function answered(
    event: CloudFormationCustomResourceEvent,
    context: Context,
  ): Promise<Answer> {
    const { RequestType, ResourceProperties } = event;
    const { Kind, Name, Declaration, MachineVersion } = Asked.parse(ResourceProperties);
    const kind = declared && Object.hasOwn(declared, Kind) ? declared[Kind] : undefined;
    if (!kind) throw new Error(`This room declares no '${Kind}'`);
    const deadline = world.now() + context.getRemainingTimeInMillis();
    const call = systemCall(DEFAULT_WORKSPACE, 'deployment', context.awsRequestId, deadline);
    // Under another name it is another object, and the old one is then removed by its own name.
    const id = `${Kind}/${Name}`;
    if (RequestType === 'Delete') {
      if (event.PhysicalResourceId === id) await kind.remove(call, Name);
      return { Status: 'SUCCESS', PhysicalResourceId: event.PhysicalResourceId };
    }
    const first = RequestType === 'Create' || event.PhysicalResourceId !== id;
    const whole: Json = {
      ...JSON.parse(Declaration),
      ...(MachineVersion === undefined ? {} : { machineVersion: MachineVersion }),
    };
    const Data = await kind.put(call, Name, whole, first);
    return { Status: 'SUCCESS', PhysicalResourceId: id, Data };
  }
}

/** S3 signs the address without a content type, so none may be sent. */
async function tell(address: string, answer: object): Promise<void> {
  const response = await fetch(address, {
    method: 'PUT',
    body: Buffer.from(JSON.stringify(answer)),
    headers: { 'content-type': '' },
  });
  if (!response.ok) throw new Error(`CloudFormation took no answer: ${response.status}`);
}

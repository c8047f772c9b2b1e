import type { Context, DynamoDBStreamEvent } from 'aws-lambda';
import { systemCall } from '../kernel/call.ts';
import { awsPlatform, blobsOf } from '../platform/aws/platform.ts';
import { groundRooms } from '../wire.ts';
import { compact } from './fold.ts';

const platform = await awsPlatform({ blobs: blobsOf });
const { folders } = groundRooms(platform).tracking;

/** Second of the two readers of the table's stream: the log is folded into documents. */
export function handler(event: DynamoDBStreamEvent, context: Context) {
  const deadline = platform.world.now() + context.getRemainingTimeInMillis();
  const id = context.awsRequestId;
  return compact(folders, event, (workspace, name) => systemCall(workspace, name, id, deadline));
}

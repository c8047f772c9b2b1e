import type { DynamoDBBatchResponse, DynamoDBStreamEvent } from 'aws-lambda';
import type { Call } from '../kernel/call.ts';
import { WorkspaceId } from '../kernel/ids.ts';
import { streamedItems } from '../platform/aws/bus.ts';
import type { Folder } from '../platform/ports.ts';

/**
 * Hands each folder what it waits for, a workspace at a time. A fold that fails fails the batch, which comes again in
 * halves: folds may run twice.
 */
export async function compact(
  folders: readonly Folder[],
  event: DynamoDBStreamEvent,
  callOf: (workspace: WorkspaceId, folder: string) => Call,
): Promise<DynamoDBBatchResponse> {
  const streamed = streamedItems(event.Records);
  for (const folder of folders) {
    const wanted = Map.groupBy(
      streamed.filter(({ item }) => item.sk.startsWith(folder.prefix)),
      ({ workspace }) => workspace,
    );
    for (const [workspace, found] of wanted) {
      const call = callOf(WorkspaceId.parse(workspace), folder.name);
      await folder.fold(
        call,
        found.map(({ item }) => item),
      );
    }
  }
  return { batchItemFailures: [] };
}

import type { Call } from '../kernel/call.ts';
import type { Item, Key, Table } from '../platform/ports.ts';

/** From here on bytes go to Blobs, with a pointer item. */
export const BLOCK_BYTES = 300 * 1024;

export async function wholeOf(body: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** Items of any number of keys, a thousand a request. */
export async function getAll(table: Table, call: Call, wanted: readonly Key[]): Promise<Item[]> {
  const found: Item[] = [];
  for (let at = 0; at < wanted.length; at += 1000)
    found.push(...(await table.getMany(call, wanted.slice(at, at + 1000))));
  return found;
}

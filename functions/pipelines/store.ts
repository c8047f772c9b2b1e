import type { Platform } from '../platform/ports.ts';
import { catalogStore } from './catalog.store.ts';
import { recordsOf } from './records.ts';
import { runsStore } from './runs.store.ts';

export type PipelinesStore = ReturnType<typeof pipelinesStore>;

/** All of the room's records over the two ports. Values too large for a record go to `Blobs`, named by content. */
export function pipelinesStore({ blobs, ...rest }: Pick<Platform, 'table' | 'blobs' | 'world'>) {
  const records = recordsOf(rest);
  return { ...catalogStore(records), ...runsStore(records, blobs) };
}

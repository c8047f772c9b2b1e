import { hex, ulid } from './ids.ts';

/** Time, randomness and ids, passed in everywhere so that a test can replay them. */
export interface World {
  /** Milliseconds since the epoch. */
  now(): number;
  randomBytes(count: number): Uint8Array;
}

/** 32 hex digits: run ids, logged-model ids after their `m-`. */
export const newHexId = (world: World): string => hex(world.randomBytes(16));

/** Sorts by the world's clock. */
export const newUlid = (world: World): string => ulid(world.now(), world.randomBytes(10));

/** RFC 4122 version 4, the form KFP's ids have. */
export function newUuid(world: World): string {
  const bytes = world.randomBytes(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const digits = hex(bytes);
  return [8, 12, 16, 20, 32].map((end, i, ends) => digits.slice(ends[i - 1] ?? 0, end)).join('-');
}

import * as z from 'zod';

/** A branded id: two kinds of id cannot be swapped for each other. */
export type Id<Brand extends string> = string & z.$brand<Brand>;

export type WorkspaceId = Id<'WorkspaceId'>;
export type RequestId = Id<'RequestId'>;

/** Immutable, 8 characters, so that cloud names stay short. Display names live in the workspaces room. */
export const WorkspaceId = z
  .string()
  .regex(/^[a-z0-9]{8}$/, 'must be 8 characters of a-z and 0-9')
  .brand<'WorkspaceId'>();

/** The workspace that always exists, shown as `default` on every wire. */
export const DEFAULT_WORKSPACE = 'default0' as WorkspaceId;

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** 26 characters that sort by time: 48 bits of milliseconds, 80 of randomness. Source: github.com/ulid/spec. */
export function ulid(nowMs: number, randomness: Uint8Array): string {
  let time = Math.max(0, Math.floor(nowMs));
  let head = '';
  for (let i = 0; i < 10; i++) {
    head = (CROCKFORD[time % 32] ?? '0') + head;
    time = Math.floor(time / 32);
  }
  let tail = '';
  let bits = 0;
  let held = 0;
  for (const byte of randomness.subarray(0, 10)) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      tail += CROCKFORD[(held >> bits) & 31] ?? '0';
    }
  }
  return head + tail;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

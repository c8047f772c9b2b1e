import { createHash } from 'node:crypto';
import { LIMITS } from '../../../statemachines/asl.ts';
import { refuse } from './refusal.ts';

/** The longest of `.choice`, `.run` and `.done` goes behind it. */
const MAX_ID = LIMITS.nameLength - '.choice'.length;
const DIGEST = 8;

/**
 * Ids of tasks, one a leaf: `inner.measure` for `measure` inside `inner`. It names the states, the record and the
 * node on the wire, so it holds only letters, digits, `_`, `-` and the dots between levels, at most 73 characters.
 */
export function taskIds() {
  const owners = new Map<string, string>();
  return (path: readonly string[]): string => {
    const whole = path.map((name) => name.replace(/[^A-Za-z0-9_-]+/g, '-') || '-').join('.');
    const id = whole.length <= MAX_ID ? whole : shortened(whole);
    const readable = path.join('/');
    const owner = owners.get(id) ?? readable;
    if (owner !== readable)
      throw refuse(
        `task '${readable}'`,
        `gets the name '${id}', which task '${owner}' already has. Rename one of them.`,
      );
    owners.set(id, readable);
    return id;
  };
}

const shortened = (whole: string) =>
  `${createHash('sha256').update(whole).digest('hex').slice(0, DIGEST)}-${whole.slice(DIGEST + 1 - MAX_ID)}`;

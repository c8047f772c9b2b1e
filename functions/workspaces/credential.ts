import type { Identity } from '../kernel/hallway.ts';
import { DEFAULT_WORKSPACE } from '../kernel/ids.ts';
import { Problem } from '../kernel/problem.ts';

/** The token a request carries: a bearer, or basic with the token as password. Undefined without a credential. */
export function tokenOf(headers: Headers): string | undefined {
  const header = headers.get('authorization');
  if (header === null) return undefined;
  if (header.length > 1024)
    throw new Problem('unauthenticated', 'The Authorization header is too long.');
  const [, scheme = '', value = ''] = /^(\w+)\s+(\S+)\s*$/.exec(header) ?? [];
  if (scheme.toLowerCase() === 'bearer') return value;
  if (scheme.toLowerCase() === 'basic') {
    const text = Buffer.from(value, 'base64').toString();
    const colon = text.indexOf(':');
    if (colon >= 0) return text.slice(colon + 1);
  }
  throw new Problem(
    'unauthenticated',
    'Send Authorization: Bearer <token>, or Basic with the token as password.',
  );
}

const DEFAULT_NAME = 'default';
const MOST_SHOWN = 100;

/**
 * A workspace named in a header must be the caller's own, by its id or, of the one that has a name, by `default`:
 * identity wins, a mismatch is `denied`.
 */
export function checkTenant(headers: Headers, { workspace }: Identity): void {
  const named = headers.get('x-mlflow-workspace');
  if (named === null || named === workspace) return;
  if (named === DEFAULT_NAME && workspace === DEFAULT_WORKSPACE) return;
  throw new Problem(
    'denied',
    `The credential is not of workspace '${named.slice(0, MOST_SHOWN)}'.`,
    { field: 'X-MLFLOW-WORKSPACE' },
  );
}

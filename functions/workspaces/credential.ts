import type { Identity } from '../kernel/hallway.ts';
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

/** A workspace named in a header must be the caller's own: identity wins, a mismatch is `denied`. */
export function checkTenant(headers: Headers, identity: Identity, displayName: string): void {
  const named = headers.get('x-mlflow-workspace');
  if (named !== null && named !== displayName && named !== identity.workspace)
    throw new Problem('denied', `The credential is not of workspace '${named}'.`, {
      field: 'X-MLFLOW-WORKSPACE',
    });
}

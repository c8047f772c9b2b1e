import { Problem } from '../functions/kernel/problem.ts';

/**
 * Whether a request may come in at all, by Host and Origin: what keeps a page in the user's browser from reaching a
 * server on loopback (DNS rebinding, cross-site requests). `hosts` are names without port; loopback always counts.
 * Source: hardening.md D04, D05; the refusals are worded as stock MLflow's.
 */
export function guard(hosts: readonly string[]): (request: Request) => string {
  const allowed = new Set([
    'localhost',
    '127.0.0.1',
    '[::1]',
    ...hosts.map((host) => host.toLowerCase()),
  ]);
  const nameOf = (authority: string) => authority.toLowerCase().replace(/:\d+$/, '');
  return (request) => {
    const host = request.headers.get('host') ?? '';
    if (!/^(\[[0-9a-f:]+\]|[\w.-]+)(:\d{1,5})?$/i.test(host) || !allowed.has(nameOf(host)))
      throw new Problem('denied', 'Invalid Host header - possible DNS rebinding attack detected');
    const origin = request.headers.get('origin');
    const site = request.headers.get('sec-fetch-site');
    const reads = request.method === 'GET' || request.method === 'HEAD';
    // https is the same page behind a proxy that ends TLS; a browser sends only the origin it really has.
    const own = [`http://${host}`, `https://${host}`].map((one) => one.toLowerCase());
    const foreign = origin !== null && !own.includes(origin.toLowerCase());
    if (!reads && (foreign || site === 'cross-site'))
      throw new Problem('denied', 'Cross-origin request blocked');
    return `http://${host}`;
  };
}

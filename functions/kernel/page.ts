import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Call } from './call.ts';
import { Problem } from './problem.ts';

/** One page of a list, and the token that asks for the next. */
export interface Page<T> {
  readonly items: T[];
  readonly next?: string;
}

/**
 * Page tokens: opaque to clients, signed, and bound to workspace and query, so an edited token, another tenant's or
 * another query's is `invalid` and never shows other rows. They do not expire.
 */
export interface Pages {
  /** `query` is everything that must stay the same from page to page. `position` is plain JSON. */
  seal(call: Call, query: unknown, position: unknown): string;
  /** Throws `invalid`. */
  open<T>(call: Call, query: unknown, token: string): T;
}

const MAX_TOKEN = 4096;

export function pages(key: Uint8Array): Pages {
  const sign = (call: Call, query: unknown, text: string) =>
    createHmac('sha256', key)
      .update(JSON.stringify([call.workspace, query, text]))
      .digest()
      .subarray(0, 16);
  return {
    seal(call, query, position) {
      const text = JSON.stringify(position);
      return Buffer.concat([sign(call, query, text), Buffer.from(text)]).toString('base64url');
    },
    open(call, query, token) {
      const refused = new Problem(
        'invalid',
        'Invalid page token: it was not given for this query.',
        { field: 'page_token' },
      );
      if (token.length > MAX_TOKEN || !/^[\w-]+$/.test(token)) throw refused;
      const bytes = Buffer.from(token, 'base64url');
      if (bytes.length < 17) throw refused;
      const text = bytes.subarray(16).toString();
      if (!timingSafeEqual(bytes.subarray(0, 16), sign(call, query, text))) throw refused;
      return JSON.parse(text);
    },
  };
}

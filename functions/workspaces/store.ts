import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { type Item, queryAll, type Table } from '../platform/ports.ts';
import { STEP_ID_FORM, type Token, type TokenId } from './model.ts';

/** A token as it lies in the table, with the SHA-256 of its secret. */
export interface KeptToken extends Token {
  readonly digest: string;
}

/** Steps' tokens lie apart from people's: nobody lists them, and they let nobody else in. */
const keyOf = (id: string) => ({ pk: STEP_ID_FORM.test(id) ? 'U#steps' : 'U#tokens', sk: id });

function tokenOf(item: Item): KeptToken {
  const { pk: _pk, sk, ...rest } = item;
  return { ...(rest as unknown as KeptToken), id: sk as TokenId };
}

export function tokenStore(table: Table) {
  return {
    async add(call: Call, token: KeptToken, event: Event): Promise<void> {
      const { id, ...rest } = token;
      await table.commit(call, [{ put: { ...keyOf(id), ...rest }, if: 'absent' }], event);
    },
    async find(call: Call, id: string): Promise<KeptToken | undefined> {
      const item = await table.get(call, keyOf(id));
      return item && tokenOf(item);
    },
    async remove(call: Call, id: string, event: Event): Promise<void> {
      await table.commit(call, [{ remove: keyOf(id), if: 'present' }], event);
    },
    async list(call: Call): Promise<KeptToken[]> {
      const tokens: KeptToken[] = [];
      for await (const item of queryAll(table, call, { pk: 'U#tokens' }))
        tokens.push(tokenOf(item));
      return tokens;
    },
  };
}
export type TokenStore = ReturnType<typeof tokenStore>;

import { createHash, timingSafeEqual } from 'node:crypto';
import { type Call, type Role, systemCall } from '../kernel/call.ts';
import { hex, WorkspaceId } from '../kernel/ids.ts';
import { Problem } from '../kernel/problem.ts';
import type { World } from '../kernel/world.ts';
import { Refused } from '../platform/ports.ts';
import { TOKEN_FORM, type Token, type TokenId } from './model.ts';
import type { TokenStore } from './store.ts';

/**
 * Tokens are the only credential of ours. A token names its workspace in its id, so the tenant comes from the
 * credential alone; it is looked up by id and its secret compared as SHA-256 in constant time. It is shown once,
 * at creation, and never kept. A random secret of 256 bits needs no slow hash.
 */
export function workspacesService(store: TokenStore, world: World) {
  const digestOf = (secret: string) => createHash('sha256').update(secret).digest('hex');
  return {
    /** Returns the token with its secret, the only time it is seen. */
    async createToken(
      call: Call,
      asked: { name: string; role: Role; expiresSeconds?: number },
    ): Promise<Token & { token: string }> {
      const id = `${call.workspace}${hex(world.randomBytes(6))}` as TokenId;
      const secret = Buffer.from(world.randomBytes(32)).toString('base64url');
      const { name, role, expiresSeconds } = asked;
      const token: Token = {
        id,
        name,
        role,
        createdAt: world.now(),
        createdBy: call.caller.name,
        ...(expiresSeconds ? { expiresAt: world.now() + expiresSeconds * 1000 } : {}),
      };
      await store.add(
        call,
        { ...token, digest: digestOf(secret) },
        { type: 'workspaces.token.created', subject: `tokens/${id}`, data: token },
      );
      return { ...token, token: `sf_${id}_${secret}` };
    },

    async listTokens(call: Call): Promise<Token[]> {
      return (await store.list(call)).map(({ digest: _digest, ...token }) => token);
    },

    /** The next request with it is refused. Throws `missing`. */
    async revokeToken(call: Call, id: string): Promise<void> {
      try {
        await store.remove(call, id, {
          type: 'workspaces.token.revoked',
          subject: `tokens/${id}`,
          data: { id },
        });
      } catch (error) {
        if (error instanceof Refused)
          throw new Problem('missing', `Token ${id} not found.`, { field: 'id' });
        throw error;
      }
    },

    /** Whose token this is. Throws `unauthenticated`, saying no more than that. */
    async whoHolds(token: string) {
      const refused = new Problem('unauthenticated', 'The token is not valid.');
      const [, id, secret] = TOKEN_FORM.exec(token) ?? [];
      if (!id || !secret) throw refused;
      const workspace = WorkspaceId.parse(id.slice(0, 8));
      const call = systemCall(workspace, 'workspaces', id, world.now() + 5000);
      const kept = await store.find(call, id);
      const given = Buffer.from(digestOf(secret));
      if (!timingSafeEqual(given, Buffer.from(kept?.digest ?? digestOf('')))) throw refused;
      if (!kept) throw refused;
      return { workspace, caller: { name: kept.name, role: kept.role } };
    },
  };
}
export type WorkspacesService = ReturnType<typeof workspacesService>;

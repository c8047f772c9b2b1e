import { createHash, createHmac } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { World } from '../kernel/world.ts';
import { Refused } from '../platform/ports.ts';
import { STEP_NAME, type StepTokenId, type Token } from './model.ts';
import type { TokenStore } from './store.ts';

/**
 * What a step of a pipeline shows our own address. It follows from the job's name, so asking again gives the same one;
 * it stands apart from people's tokens, dies by itself and is taken back when the step ends.
 */
export function stepTokens(store: TokenStore, world: World, secret: Uint8Array) {
  // A key of its own: the installation's secret signs other things as well.
  const key = createHmac('sha256', secret).update('stillflow step tokens').digest();
  const derived = (call: Call, what: 'id' | 'secret', job: string) =>
    createHmac('sha256', key).update(`${what}/${call.workspace}/${job}`).digest();
  const idOf = (call: Call, job: string) =>
    `${call.workspace}${STEP_NAME}${derived(call, 'id', job).toString('hex').slice(0, 24)}` as StepTokenId;

  return {
    /** `expiresAt`: ms since the epoch. */
    async create(call: Call, { job, expiresAt }: { job: string; expiresAt: number }) {
      const id = idOf(call, job);
      const own = derived(call, 'secret', job).toString('base64url');
      const token: Token = {
        id,
        name: STEP_NAME,
        role: 'write',
        createdAt: world.now(),
        createdBy: call.caller.name,
        expiresAt,
      };
      const digest = createHash('sha256').update(own).digest('hex');
      try {
        await store.add(
          call,
          { ...token, digest },
          {
            type: 'workspaces.token.created',
            subject: `tokens/${id}`,
            data: { ...token, job },
          },
        );
      } catch (error) {
        // It is there already, and it is the same.
        if (!(error instanceof Refused)) throw error;
      }
      return `sf_${id}_${own}`;
    },

    /** The next request with it is refused. Idempotent. */
    async revoke(call: Call, job: string): Promise<void> {
      const id = idOf(call, job);
      try {
        await store.remove(call, id, {
          type: 'workspaces.token.revoked',
          subject: `tokens/${id}`,
          data: { id, job },
        });
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    },
  };
}
export type StepTokens = ReturnType<typeof stepTokens>;

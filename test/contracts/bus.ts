import { describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import { type Event, hashOf, type Told, tell } from '../../functions/kernel/event.ts';
import type { Follower } from '../../functions/platform/ports.ts';
import { callIn, newWorkspace, testWorld } from './calls.ts';

export interface BusUnderTest {
  publish(entries: readonly Told[]): Promise<void>;
  /** Resolves when everything published has been heard or set aside. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

export interface BusSuite {
  readonly on: string;
  open(followers: readonly Follower[]): Promise<BusUnderTest>;
}

/** What every Bus keeps: each event reaches each follower that hears it at least once, whole, and failures stay apart. */
export function busContract({ on, open }: BusSuite) {
  describe(`Bus on ${on}`, () => {
    const world = testWorld();
    const say = (workspace: string, type: Event['type'], data: unknown = {}): Told =>
      tell(callIn(workspace), { type, subject: 'runs/1', data }, undefined, world);

    async function during(followers: Follower[], work: (bus: BusUnderTest) => Promise<void>) {
      const bus = await open(followers);
      try {
        await work(bus);
      } finally {
        await bus.close();
      }
    }
    const listener = (name: string, hears: string[], run?: Follower['run']) => {
      const heard: { call: Call; told: Told }[] = [];
      const follower: Follower = {
        name,
        hears,
        async run(call, told) {
          await run?.(call, told);
          heard.push({ call, told });
        },
      };
      return { follower, heard, ids: () => new Set(heard.map(({ told }) => told.id)) };
    };

    test('each follower hears the events of its patterns, whole, in a call of their workspace', async () => {
      const one = listener('one', ['test.run.ended']);
      const all = listener('all', ['test.*']);
      const none = listener('none', ['other.*']);
      await during([one.follower, all.follower, none.follower], async (bus) => {
        const workspace = newWorkspace();
        const data = { z: '漢\u2028"', a: [1, null, { b: 1e300 }], long: 'x'.repeat(50_000) };
        const ended = say(workspace, 'test.run.ended', data);
        const begun = say(newWorkspace(), 'test.run.begun');
        await bus.publish([ended, begun]);
        await bus.settled();
        expect(one.ids()).toEqual(new Set([ended.id]));
        expect(all.ids()).toEqual(new Set([ended.id, begun.id]));
        expect(none.heard).toEqual([]);
        const [first] = one.heard;
        expect(first?.told).toEqual(ended);
        expect(first && hashOf(first.told)).toBe(ended.hash);
        expect(first?.call).toMatchObject({
          workspace,
          caller: { name: 'one', role: 'admin' },
          requestId: ended.requestId,
        });
      });
    });

    test('fifty events all arrive', async () => {
      const all = listener('all', ['*']);
      await during([all.follower], async (bus) => {
        const workspace = newWorkspace();
        const told = Array.from({ length: 50 }, (_, i) => say(workspace, 'test.run.ended', { i }));
        await Promise.all([bus.publish(told.slice(0, 20)), bus.publish(told.slice(20))]);
        await bus.settled();
        expect(all.ids()).toEqual(new Set(told.map(({ id }) => id)));
      });
    });

    test('a failed delivery comes again, and holds up no other follower', async () => {
      let left = 2;
      const shaky = listener('shaky', ['*'], async () => {
        if (left-- > 0) throw new Error('not now');
      });
      const steady = listener('steady', ['*']);
      await during([shaky.follower, steady.follower], async (bus) => {
        const told = [1, 2, 3].map((i) => say(newWorkspace(), 'test.run.ended', { i }));
        await bus.publish(told);
        await bus.settled();
        const ids = new Set(told.map(({ id }) => id));
        expect(shaky.ids()).toEqual(ids);
        expect(steady.ids()).toEqual(ids);
      });
    });

    test('an event that always fails is set aside, and later ones are heard', async () => {
      let tries = 0;
      const picky = listener('picky', ['*'], async (_call, { data }) => {
        if (!(data as { bad?: boolean }).bad) return;
        tries += 1;
        throw new Error('never');
      });
      await during([picky.follower], async (bus) => {
        const bad = say(newWorkspace(), 'test.run.ended', { bad: true });
        const good = say(newWorkspace(), 'test.run.ended');
        await bus.publish([bad]);
        await bus.publish([good]);
        await bus.settled();
        expect(picky.ids()).toEqual(new Set([good.id]));
        expect(tries).toBeGreaterThan(1);
      });
    });
  });
}

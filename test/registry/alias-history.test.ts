import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type House, openHouse } from '../artifacts/house.ts';

/**
 * F02: the history of one alias is that of one register. Each operation takes effect at one instant between its start
 * and its end; the audit chain says in which order the changes did, and no read may contradict it.
 */
interface Op {
  readonly kind: 'set' | 'remove' | 'read';
  /** What was set, or read; undefined for none. */
  readonly version?: number | undefined;
  readonly started: number;
  readonly ended: number;
}

async function play(
  house: House,
  name: string,
  clients: readonly (readonly Wish[])[],
): Promise<Op[]> {
  let clock = 0;
  const ops: Op[] = [];
  const alias = 'champion';
  await Promise.all(
    clients.map(async (wishes) => {
      for (const wish of wishes) {
        const started = clock++;
        let version = wish.version;
        if (wish.kind === 'set') {
          const body = { name, alias, version: String(wish.version) };
          expect((await house.post('registered-models/alias', body)).status).toBe(200);
        } else if (wish.kind === 'remove') {
          const { status } = await house.send('DELETE', 'registered-models/alias', { name, alias });
          expect(status).toBe(200);
        } else {
          const { status, body } = await house.get('registered-models/alias', { name, alias });
          expect([200, 400]).toContain(status);
          version = status === 200 ? Number(body.model_version.version) : undefined;
        }
        ops.push({ kind: wish.kind, version, started, ended: clock++ });
      }
    }),
  );
  return ops;
}

interface Wish {
  readonly kind: Op['kind'];
  readonly version?: number;
}
const wish: fc.Arbitrary<Wish> = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), version: fc.integer({ min: 1, max: 3 }) }),
  fc.constant({ kind: 'remove' as const }),
  fc.constant({ kind: 'read' as const }),
);

/** Wing and Gong's search: is there an order of whole operations that respects time and explains every read? */
function isLinearisable(ops: readonly Op[]): boolean {
  const dead = new Set<string>();
  const step = (left: readonly Op[], held: number | undefined): boolean => {
    if (!left.length) return true;
    const key = `${held}|${left.map((op) => op.started).join()}`;
    if (dead.has(key)) return false;
    const horizon = Math.min(...left.map((op) => op.ended));
    for (const op of left) {
      if (op.started > horizon) continue; // another ended before it began
      if (op.kind === 'read' && op.version !== held) continue;
      const next = op.kind === 'read' ? held : op.kind === 'set' ? op.version : undefined;
      if (
        step(
          left.filter((other) => other !== op),
          next,
        )
      )
        return true;
    }
    dead.add(key);
    return false;
  };
  return step(ops, undefined);
}

describe('F02: aliases under many clients', () => {
  test('the checker itself finds a read that nothing explains', () => {
    const set: Op = { kind: 'set', version: 1, started: 0, ended: 1 };
    expect(isLinearisable([set, { kind: 'read', version: 1, started: 2, ended: 3 }])).toBe(true);
    expect(isLinearisable([set, { kind: 'read', version: 2, started: 2, ended: 3 }])).toBe(false);
    expect(isLinearisable([set, { kind: 'read', started: 2, ended: 3 }])).toBe(false);
    expect(isLinearisable([set, { kind: 'read', started: 0.5, ended: 3 }])).toBe(true);
  });

  test('every history is linearisable', async () => {
    const house = openHouse();
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(wish, { minLength: 1, maxLength: 4 }), { minLength: 2, maxLength: 5 }),
        async (clients) => {
          const name = `m${count++}`;
          await house.post('registered-models/create', { name });
          for (let i = 0; i < 3; i++)
            await house.post('model-versions/create', { name, source: 's3://b/x' });
          expect(isLinearisable(await play(house, name, clients))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('200 clients set one alias; no reader sees none between two sets', async () => {
    const house = openHouse();
    await house.post('registered-models/create', { name: 'churn' });
    for (let i = 0; i < 3; i++)
      await house.post('model-versions/create', { name: 'churn', source: 's3://b/x' });
    await house.post('registered-models/alias', { name: 'churn', alias: 'champion', version: '1' });
    const clients = Array.from({ length: 200 }, (_, i): Wish[] => [
      { kind: 'set', version: (i % 3) + 1 },
      { kind: 'read' },
    ]);
    const ops = await play(house, 'churn', clients);
    for (const op of ops) expect(op.version).toBeGreaterThan(0);
    const told = (await house.told('models/churn')).filter((t) => t.type === 'registry.alias.set');
    const { body } = await house.get('registered-models/get', { name: 'churn' });
    const last = told.at(-1)?.data as { version: number };
    expect(body.registered_model.aliases).toEqual([
      { alias: 'champion', version: String(last.version) },
    ]);
    // Each change names the one before it: none was lost and none came between.
    told.reduce((before: number | null, { data }) => {
      const { version, previous } = data as { version: number; previous: number | null };
      expect(previous).toBe(before);
      return version;
    }, null);
  });

  test('a version that is deleted while aliases are set leaves no alias that points at nothing', async () => {
    const house = openHouse();
    await house.post('registered-models/create', { name: 'churn' });
    for (let i = 0; i < 2; i++)
      await house.post('model-versions/create', { name: 'churn', source: 's3://b/x' });
    const sets = Array.from({ length: 30 }, (_, i) =>
      house.post('registered-models/alias', { name: 'churn', alias: `a${i}`, version: '1' }),
    );
    const deleted = house.send('DELETE', 'model-versions/delete', { name: 'churn', version: '1' });
    const later = Array.from({ length: 30 }, (_, i) =>
      house.post('registered-models/alias', { name: 'churn', alias: `b${i}`, version: '1' }),
    );
    const answers = await Promise.all([...sets, deleted, ...later]);
    for (const { status } of answers) expect([200, 404]).toContain(status);
    expect((await deleted).status).toBe(200);
    const { body } = await house.get('registered-models/get', { name: 'churn' });
    expect(body.registered_model.aliases).toBeUndefined();
  });
});

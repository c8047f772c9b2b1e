import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import { pages } from '../../functions/kernel/page.ts';
import type { World } from '../../functions/kernel/world.ts';
import type { Table } from '../../functions/platform/ports.ts';
import { type RegistryService, registryService } from '../../functions/registry/service.ts';
import { registryStore } from '../../functions/registry/store.ts';

/** One operation on an alias, as a client saw it. */
export interface Op {
  readonly kind: 'set' | 'remove' | 'read';
  /** What was set, or read; undefined for none. */
  readonly version?: number | undefined;
  readonly started: number;
  readonly ended: number;
}
export interface Wish {
  readonly kind: Op['kind'];
  readonly version?: number;
}

export const wishes: fc.Arbitrary<Wish[][]> = fc.array(
  fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('set' as const), version: fc.integer({ min: 1, max: 3 }) }),
      fc.constant({ kind: 'remove' as const }),
      fc.constant({ kind: 'read' as const }),
    ),
    { minLength: 1, maxLength: 4 },
  ),
  { minLength: 2, maxLength: 5 },
);

/** Wing and Gong's search: is there an order of whole operations that respects time and explains every read? */
export function isLinearisable(ops: readonly Op[]): boolean {
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
      const others = left.filter((other) => other !== op);
      if (step(others, next)) return true;
    }
    dead.add(key);
    return false;
  };
  return step(ops, undefined);
}

/** Plays each client's wishes at once with the others', noting when each began and ended. */
export async function play(
  clients: readonly (readonly Wish[])[],
  act: (client: number, wish: Wish) => Promise<number | undefined>,
): Promise<Op[]> {
  let clock = 0;
  const ops: Op[] = [];
  await Promise.all(
    clients.map(async (wished, client) => {
      for (const wish of wished) {
        const started = clock++;
        const version = await act(client, wish);
        ops.push({ kind: wish.kind, version, started, ended: clock++ });
      }
    }),
  );
  return ops;
}

const SOURCE = 's3://elsewhere/model';
const RIVALS = 4;

/** Several processes over one table: nothing but the table's conditions stands between them. */
function rivalsOver(table: Table, world: World): RegistryService[] {
  const nothing = async () => undefined;
  const lineage = {
    runRoot: nothing,
    model: nothing,
    modelOfRun: nothing,
    noteVersion: nothing,
    pathOf: () => undefined,
    locate: () => undefined,
  };
  const tokens = pages(new Uint8Array(32));
  return Array.from({ length: RIVALS }, () =>
    registryService(registryStore(table, world), world, tokens, lineage),
  );
}

/** F01 and F02 between processes, on any table. `runs` histories are played. */
export function registryHistories(options: {
  on: string;
  open(): Promise<{ table: Table; world: World; call: Call }>;
  runs: number;
  clients: number;
}): void {
  describe(`several registries over ${options.on}`, () => {
    let rivals: RegistryService[];
    let call: Call;
    let count = 0;
    beforeAll(async () => {
      const opened = await options.open();
      call = opened.call;
      rivals = rivalsOver(opened.table, opened.world);
    });
    const rival = (i: number) => rivals[i % RIVALS] as RegistryService;

    test(`F01: ${options.clients} clients that create versions at once get 1 to ${options.clients}`, async () => {
      const name = `m${count++}`;
      await rival(0).createModel(call, name);
      const made = await Promise.all(
        Array.from({ length: options.clients }, (_, i) =>
          rival(i).createVersion(call, { name, source: SOURCE }),
        ),
      );
      const numbers = made.map(({ version }) => version).sort((a, b) => a - b);
      expect(numbers).toEqual(Array.from({ length: options.clients }, (_, i) => i + 1));
      const { items } = await rival(1).listVersions(call, name, 1_000);
      expect(items).toHaveLength(options.clients);
    });

    test('of many who move an alias from where they saw it, one does, and the others are told', async () => {
      const name = `m${count++}`;
      await rival(0).createModel(call, name);
      for (let i = 0; i < 9; i += 1) await rival(0).createVersion(call, { name, source: SOURCE });
      for (const from of [null, 1]) {
        if (from !== null) await rival(0).setAlias(call, { name, alias: 'a', version: from });
        const moves = await Promise.allSettled(
          Array.from({ length: 8 }, (_, i) =>
            rival(i).setAlias(call, { name, alias: 'a', version: i + 2, from }),
          ),
        );
        const won = moves.findIndex(({ status }) => status === 'fulfilled');
        expect(moves.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
        expect((await rival(0).resolveAlias(call, name, 'a'))?.version).toBe(won + 2);
        for (const move of moves)
          if (move.status === 'rejected')
            expect(move.reason).toMatchObject({
              code: 'precondition',
              message: `a was moved to version ${won + 2} meanwhile`,
            });
        // Who asks again for what stands already is right.
        await rival(1).setAlias(call, { name, alias: 'a', version: won + 2, from });
      }
    });

    test('one of many creates of one name wins', async () => {
      const name = `m${count++}`;
      const made = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) => rival(i).createModel(call, name)),
      );
      expect(made.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const ensured = await Promise.all(
        Array.from({ length: 8 }, (_, i) => rival(i).ensureModel(call, name)),
      );
      expect(new Set(ensured.map(({ model }) => model.id)).size).toBe(1);
    });

    test('aliases, tags and versions that many set at once are all there', async () => {
      const name = `m${count++}`;
      await rival(0).createModel(call, name);
      await rival(0).createVersion(call, { name, source: SOURCE });
      await Promise.all(
        Array.from({ length: 12 }, (_, i) => [
          rival(i).setAlias(call, { name, alias: `a${i}`, version: 1 }),
          rival(i + 1).setModelTag(call, name, `t${i}`, 'v'),
          rival(i + 2).setVersionTag(call, name, 1, `t${i}`, 'v'),
        ]).flat(),
      );
      const { model, latest } = await rival(0).getModel(call, name);
      expect([model.aliases.size, model.tags.size, latest[0]?.tags.size]).toEqual([12, 12, 12]);
    });

    test('F02: every history of an alias is that of one register', async () => {
      await fc.assert(
        fc.asyncProperty(wishes, async (clients) => {
          const name = `m${count++}`;
          await rival(0).createModel(call, name);
          for (let i = 0; i < 3; i++) await rival(i).createVersion(call, { name, source: SOURCE });
          const alias = 'champion';
          const ops = await play(clients, async (client, { kind, version }) => {
            if (kind === 'set')
              await rival(client).setAlias(call, { name, alias, version: version ?? 0 });
            else if (kind === 'remove') await rival(client).removeAlias(call, name, alias);
            else return (await rival(client).resolveAlias(call, name, alias))?.version;
            return version;
          });
          expect(isLinearisable(ops)).toBe(true);
        }),
        { numRuns: options.runs },
      );
    });
  });
}

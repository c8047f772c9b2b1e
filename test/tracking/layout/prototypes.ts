import type { Call } from '../../../functions/kernel/call.ts';
import { newUlid } from '../../../functions/kernel/world.ts';
import {
  type Item,
  type Platform,
  Refused,
  type Write,
} from '../../../functions/platform/ports.ts';
import { decodeBlock, encodeBlock } from '../../../functions/tracking/block.ts';
import type { RunId } from '../../../functions/tracking/model.ts';
import { all, latest, type OpenSubject, type Seen } from './subject.ts';

/**
 * The two layouts that were weighed and not taken (docs/decisions/001-tracking-layout.md), as far as counting their
 * requests and testing their truth needs: points, params, folds and searches; no lifecycle, no overflow.
 */
type Ground = Pick<Platform, 'table' | 'blobs' | 'world'>;
const minuteOf = ({ world }: Ground) => Math.floor(world.now() / 60_000);
const bucket = (minute: number) => String(minute).padStart(12, '0');

const pointsOf = (items: readonly Item[]) =>
  items.flatMap((item) => decodeBlock(item['block'] as Uint8Array));

function seen(doc: Item | undefined, log: readonly Item[]): Seen {
  const held = latest(doc?.['metrics'] ? decodeBlock(doc['metrics'] as Uint8Array) : []);
  return {
    latest: latest(pointsOf(log), held),
    params: new Set((doc?.['params'] ?? []) as string[]),
  };
}

/** The document with the points laid over, and each entry moved from the log to the past: one commit. */
function foldWrites(run: RunId, doc: Item, log: readonly Item[]): Write[] {
  const metrics = encodeBlock([...seen(doc, log).latest.values()]);
  const version = Number(doc['version']);
  return [
    { put: { ...doc, version: version + 1, metrics }, if: { equal: { version } } },
    ...log.map((item) => ({
      put: { pk: `R#${run}`, sk: `PAST#${idOf(item)}`, block: item['block'] as Uint8Array },
    })),
    ...log.map(({ pk, sk }) => ({ remove: { pk, sk } })),
  ];
}
const idOf = ({ sk }: Item) => sk.slice(sk.lastIndexOf('#') + 1);

function changeParam(doc: Item, param: string): Write {
  const version = Number(doc['version']);
  const params = [...((doc['params'] ?? []) as string[]), param];
  return { put: { ...doc, version: version + 1, params }, if: { equal: { version } } };
}

async function retried(attempt: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries++)
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Refused) || tries > 50) throw error;
    }
}

async function documents(ground: Ground, call: Call) {
  const places = await all(ground, call, 'X#0');
  const keys = places.map(({ sk }) => ({ pk: sk, sk: 'DOC' }));
  return keys.length ? ground.table.getMany(call, keys) : [];
}
const runOf = ({ pk }: Item) => pk.slice(2) as RunId;

/**
 * aws.md section 2.4: the log in the run's own partition, and a marker a run-minute that tells a search whose log to
 * read. The fold removes markers that are two minutes old.
 */
export const ownPartition: OpenSubject = (ground) => {
  const { table, world } = ground;
  const head = async (call: Call, run: RunId) => {
    const item = await table.get(call, { pk: `R#${run}`, sk: 'HEAD' });
    if (!item) throw new Error('no such run');
    return item;
  };
  return {
    async create(call, run) {
      await table.commit(call, [
        { put: { pk: `R#${run}`, sk: 'HEAD', minute: 0 } },
        { put: { pk: `R#${run}`, sk: 'DOC', version: 1 } },
        { put: { pk: 'X#0', sk: `R#${run}` } },
      ]);
    },
    log: (call, run, points, param) =>
      retried(async () => {
        const held = await head(call, run);
        const minute = minuteOf(ground);
        const entry = { pk: `R#${run}`, sk: `A-LOG#${newUlid(world)}`, block: encodeBlock(points) };
        const writes: Write[] = [{ put: entry }];
        if (held['minute'] !== minute)
          writes.push(
            { put: { ...held, minute } },
            { put: { pk: 'M#0', sk: `${bucket(minute)}#${run}`, run } },
          );
        if (param !== undefined) {
          const doc = await table.get(call, { pk: `R#${run}`, sk: 'DOC' });
          if (doc) writes.push(changeParam(doc, param));
        }
        await table.commit(call, writes);
      }),
    async get(call, run) {
      const { items } = await table.query(call, { pk: `R#${run}`, until: 'HEAD' });
      return seen(
        items.find(({ sk }) => sk === 'DOC'),
        items.filter(({ sk }) => sk.startsWith('A-LOG#')),
      );
    },
    async search(call) {
      const marked = new Set((await all(ground, call, 'M#0')).map((item) => String(item['run'])));
      const logs = new Map<string, Item[]>();
      for (const run of marked) logs.set(run, await all(ground, call, `R#${run}`, 'A-LOG#'));
      const docs = await documents(ground, call);
      return new Map(docs.map((doc) => [runOf(doc), seen(doc, logs.get(runOf(doc)) ?? [])]));
    },
    async history(call, run, key) {
      const log = await all(ground, call, `R#${run}`, 'A-LOG#');
      const past = await all(ground, call, `R#${run}`, 'PAST#');
      return pointsOf([...log, ...past]).filter((point) => point.key === key);
    },
    fold: (call, run) =>
      retried(async () => {
        const { items } = await table.query(call, { pk: `R#${run}`, until: 'HEAD' });
        const doc = items.find(({ sk }) => sk === 'DOC');
        const log = items.filter(({ sk }) => sk.startsWith('A-LOG#')).slice(0, 40);
        if (doc && log.length) await table.commit(call, foldWrites(run, doc, log));
        const markers = await all(ground, call, 'M#0');
        const old = markers.filter(
          ({ sk, ...item }) =>
            item['run'] === run && Number(sk.slice(0, 12)) < minuteOf(ground) - 2,
        );
        if (old.length)
          await table.commit(
            call,
            old.slice(0, 90).map(({ pk, sk }) => ({ remove: { pk, sk } })),
          );
      }),
  };
};

/**
 * aws.md section 2.2: the log in a partition an experiment-minute; the head keeps the set of a run's unfolded
 * minutes, added before its first entry there and removed by the fold.
 */
export const minuteBuckets: OpenSubject = (ground) => {
  const { table, world } = ground;
  const minutesOf = (head: Item | undefined) => (head?.['minutes'] ?? []) as number[];
  const logOf = (call: Call, minute: number, run: RunId) =>
    all(ground, call, `L#0#${bucket(minute)}`, `${run}#`);
  const parts = (call: Call, run: RunId) =>
    table.getMany(call, [
      { pk: `R#${run}`, sk: 'HEAD' },
      { pk: `R#${run}`, sk: 'DOC' },
    ]);
  return {
    async create(call, run) {
      await table.commit(call, [
        { put: { pk: `R#${run}`, sk: 'HEAD', minutes: [], moved: 0 } },
        { put: { pk: `R#${run}`, sk: 'DOC', version: 1 } },
        { put: { pk: 'X#0', sk: `R#${run}` } },
      ]);
    },
    log: (call, run, points, param) =>
      retried(async () => {
        const minute = minuteOf(ground);
        const head = await table.get(call, { pk: `R#${run}`, sk: 'HEAD' });
        if (!head) throw new Error('no such run');
        const moved = Number(head['moved']);
        const minutes = minutesOf(head);
        if (!minutes.includes(minute))
          await table.commit(call, [
            {
              put: { ...head, minutes: [...minutes, minute], moved: moved + 1 },
              if: { equal: { moved } },
            },
            { put: { pk: 'M#0', sk: bucket(minute) } },
          ]);
        const entry = {
          pk: `L#0#${bucket(minute)}`,
          sk: `${run}#${newUlid(world)}`,
          run,
          block: encodeBlock(points),
        };
        const writes: Write[] = [{ put: entry }];
        if (param !== undefined) {
          const doc = await table.get(call, { pk: `R#${run}`, sk: 'DOC' });
          if (doc) writes.push(changeParam(doc, param));
        }
        await table.commit(call, writes);
      }),
    async get(call, run) {
      const held = await parts(call, run);
      const minutes = minutesOf(held.find(({ sk }) => sk === 'HEAD'));
      const logs = await Promise.all(minutes.map((minute) => logOf(call, minute, run)));
      return seen(
        held.find(({ sk }) => sk === 'DOC'),
        logs.flat(),
      );
    },
    async search(call) {
      const logs = new Map<string, Item[]>();
      for (const { sk } of await all(ground, call, 'M#0'))
        for (const item of await all(ground, call, `L#0#${sk}`)) {
          const run = String(item['run']);
          logs.set(run, [...(logs.get(run) ?? []), item]);
        }
      const docs = await documents(ground, call);
      return new Map(docs.map((doc) => [runOf(doc), seen(doc, logs.get(runOf(doc)) ?? [])]));
    },
    async history(call, run, key) {
      const held = await parts(call, run);
      const minutes = minutesOf(held.find(({ sk }) => sk === 'HEAD'));
      const logs = await Promise.all(minutes.map((minute) => logOf(call, minute, run)));
      const past = await all(ground, call, `R#${run}`, 'PAST#');
      return pointsOf([...logs.flat(), ...past]).filter((point) => point.key === key);
    },
    fold: (call, run) =>
      retried(async () => {
        const held = await parts(call, run);
        const head = held.find(({ sk }) => sk === 'HEAD');
        const doc = held.find(({ sk }) => sk === 'DOC');
        if (!head || !doc) return;
        const minutes = minutesOf(head);
        const log = (await Promise.all(minutes.map((minute) => logOf(call, minute, run))))
          .flat()
          .slice(0, 40);
        if (log.length) await table.commit(call, foldWrites(run, doc, log));
        const kept = minutes.filter((minute) => minute >= minuteOf(ground) - 2);
        const moved = Number(head['moved']);
        if (kept.length < minutes.length && log.length < 40)
          await table.commit(call, [
            { put: { ...head, minutes: kept, moved: moved + 1 }, if: { equal: { moved } } },
          ]);
      }),
  };
};

import { createHash } from 'node:crypto';
import type { Call } from '../../functions/kernel/call.ts';
import type { Json } from '../../functions/kernel/json.ts';
import {
  type HistoryEvent,
  type Item,
  type Key,
  type MachineState,
  queryAll,
  type Table,
  type Write,
} from '../../functions/platform/ports.ts';
import type { StateMachine } from '../../statemachines/asl.ts';

/**
 * What stands in the table. A machine `XM#<name>`: its text in parts `D#<digest>#<part>`, and `DEF` while it is
 * defined. An execution `XE#<machine>#<name>`: `START` and `END`, blocks of history `H#<first id>`, and where it
 * stands now, `N#S#<strand>` (position), `N#W#<strand>` (arguments or items), `N#V#<strand>#<entry>` (variables), all
 * of which go once it has ended. `XO#` lists the open ones.
 */
export interface Started {
  readonly machine: string;
  readonly execution: string;
  readonly digest: string;
  readonly input: Json;
  readonly startedAt: number;
  /** The task of another machine that started it, if any: only that one may hear of its end by starting it again. */
  readonly parent: string;
}
export interface Ended {
  readonly state: MachineState;
  readonly output?: Json;
  readonly error?: string;
  readonly cause?: string;
  readonly endedAt: number;
}

export type Phase = 'entered' | 'task' | 'waiting' | 'retry' | 'inner' | 'done';

/** Where one strand stands: the machine itself, a branch, or an iteration. */
export interface Position {
  /** The state it is in. */
  readonly state: string;
  /** Counts the states this strand has entered. */
  readonly entry: number;
  readonly enteredAt: number;
  readonly phase: Phase;
  /** Retries of this state so far, in all and by Retrier. */
  readonly attempt: number;
  readonly retries: readonly number[];
  /** When a wait or a retry is over, or a task times out. */
  readonly until: number;
  /** The strand's latest event. */
  readonly eventId: number;
}

/** One strand as it was kept. */
export interface Kept {
  readonly position: Position;
  /** What the state was entered with; the output of a strand that is done. */
  readonly data: Json;
  readonly work: Json | undefined;
  /** Variables by the key of the item that holds them, in the order they were assigned. */
  readonly assigned: readonly { readonly sk: string; readonly values: Fields }[];
}
type Fields = { readonly [name: string]: Json };

const PART_CHARACTERS = 90_000; // at most 270 KB of UTF-8, and an item holds 400
const BLOCK_CHARACTERS = 90_000;
const EVENT_BYTES = 380_000;
const CUT_CHARACTERS = 20_000;

export const executionKey = (machine: string, execution: string): string =>
  `XE#${machine}#${execution}`;
const positionSk = (strand: string) => `N#S#${strand}`;
export const workSk = (strand: string) => `N#W#${strand}`;
export const variablesSk = (strand: string, entry: number) =>
  `N#V#${strand}#${String(entry).padStart(6, '0')}`;
const openKey = (machine: string, execution: string): Key => ({
  pk: 'XO#',
  sk: `${machine}#${execution}`,
});
const definedKey = (name: string): Key => ({ pk: `XM#${name}`, sk: 'DEF' });

/** Equal for equal JSON, whatever the order of its fields. */
export function canonical(value: Json): string {
  return JSON.stringify(value, (_key, item) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

export const digestOf = (definition: Json): string =>
  createHash('sha256').update(canonical(definition)).digest('hex').slice(0, 32);

function openRecord(machine: string, execution: string): { put: Item } {
  return { put: { ...openKey(machine, execution), machine, execution } };
}
export const openRemoval = (machine: string, execution: string): Write => ({
  remove: openKey(machine, execution),
});

export function positionRecord(pk: string, strand: string, position: Position, data: Json): Item {
  return { pk, sk: positionSk(strand), at: JSON.stringify(position), data: JSON.stringify(data) };
}
export const textRecord = (pk: string, sk: string, value: Json | Fields): Item => ({
  pk,
  sk,
  text: JSON.stringify(value),
});

/** Events as items: as many in one as fit. */
export function historyRecords(pk: string, events: readonly HistoryEvent[]): Item[] {
  const items: Item[] = [];
  let texts: string[] = [];
  let first = 0;
  let size = 0;
  const close = () => {
    if (texts.length)
      items.push({ pk, sk: `H#${String(first).padStart(6, '0')}`, events: `[${texts.join(',')}]` });
    texts = [];
    size = 0;
  };
  for (const event of events) {
    const text = eventText(event);
    if (size + text.length > BLOCK_CHARACTERS) close();
    if (!texts.length) first = event.id;
    texts.push(text);
    size += text.length;
  }
  close();
  return items;
}

/** About what the event takes as text. */
export function charactersOf(details: HistoryEvent['details']): number {
  let sum = 100;
  for (const value of Object.values(details))
    sum += typeof value === 'string' ? value.length : JSON.stringify(value ?? null).length;
  return sum;
}

/** One event as text; what no item could hold is cut, and marked as Step Functions marks it. */
function eventText(event: HistoryEvent): string {
  const text = JSON.stringify(event);
  if (text.length <= BLOCK_CHARACTERS || Buffer.byteLength(text) <= EVENT_BYTES) return text;
  const details: { [name: string]: Json | undefined } = { ...event.details };
  for (const [name, value] of Object.entries(event.details)) {
    const whole = typeof value === 'string' ? value : JSON.stringify(value ?? null);
    if (whole.length <= CUT_CHARACTERS) continue;
    details[name] = typeof value === 'string' ? value.slice(0, CUT_CHARACTERS) : null;
    details[`${name}Details`] = { truncated: true };
  }
  return JSON.stringify({ ...event, details });
}

const read = <T>(item: Item | undefined, field: string): T | undefined =>
  item?.[field] === undefined ? undefined : JSON.parse(String(item[field]));

/** Reads and writes the records above, in the call's workspace. */
export function journal(table: Table) {
  const parts = async (call: Call, name: string, prefix: string): Promise<Item[]> => {
    const found: Item[] = [];
    for await (const item of queryAll(table, call, { pk: `XM#${name}`, prefix })) found.push(item);
    return found;
  };

  return {
    /** The writes that keep a machine's text. */
    textWrites(name: string, digest: string, definition: Json): Write[] {
      const text = JSON.stringify(definition);
      const writes: Write[] = [];
      for (let at = 0; at < text.length; at += PART_CHARACTERS) {
        const sk = `D#${digest}#${String(writes.length).padStart(2, '0')}`;
        writes.push({ put: { pk: `XM#${name}`, sk, text: text.slice(at, at + PART_CHARACTERS) } });
      }
      return writes;
    },

    async readText(call: Call, name: string, digest: string): Promise<StateMachine | undefined> {
      const found = await parts(call, name, `D#${digest}#`);
      return found.length ? JSON.parse(found.map((item) => item['text']).join('')) : undefined;
    },

    async removeText(call: Call, name: string, digest: string): Promise<void> {
      const found = await parts(call, name, `D#${digest}#`);
      if (found.length)
        await table.commit(
          call,
          found.map(({ pk, sk }) => ({ remove: { pk, sk } })),
        );
    },

    async defined(call: Call, name: string): Promise<string | undefined> {
      const item = await table.get(call, definedKey(name));
      return item && String(item['digest']);
    },
    definedWrite: (name: string, digest: string): Write => ({
      put: { ...definedKey(name), digest },
      if: 'absent',
    }),
    undefinedWrite: (name: string): Write => ({ remove: definedKey(name) }),

    startWrites(started: Started): Write[] {
      const { machine, execution, input, ...rest } = started;
      const pk = executionKey(machine, execution);
      const start = { pk, sk: 'START', machine, execution, ...rest, input: JSON.stringify(input) };
      return [{ put: start, if: 'absent' }, openRecord(machine, execution)];
    },

    endWrite({ machine, execution }: Started, ended: Ended): Write {
      const { output, ...rest } = ended;
      const pk = executionKey(machine, execution);
      const kept = output === undefined ? {} : { output: JSON.stringify(output) };
      return { put: { pk, sk: 'END', ...rest, ...kept }, if: 'absent' };
    },

    async read(
      call: Call,
      machine: string,
      execution: string,
    ): Promise<{ started: Started; ended: Ended | undefined } | undefined> {
      const pk = executionKey(machine, execution);
      const keys = ['START', 'END'].map((sk) => ({ pk, sk }));
      const items = await table.getMany(call, keys);
      const start = items.find(({ sk }) => sk === 'START');
      const end = items.find(({ sk }) => sk === 'END');
      if (!start) return undefined;
      const started = {
        machine,
        execution,
        digest: String(start['digest']),
        input: read<Json>(start, 'input') ?? null,
        startedAt: Number(start['startedAt']),
        parent: String(start['parent']),
      };
      const ended = end && {
        state: end['state'] as MachineState,
        endedAt: Number(end['endedAt']),
        ...(end['error'] === undefined ? {} : { error: String(end['error']) }),
        ...(end['cause'] === undefined ? {} : { cause: String(end['cause']) }),
        ...(end['output'] === undefined ? {} : { output: JSON.parse(String(end['output'])) }),
      };
      return { started, ended };
    },

    async *open(call: Call): AsyncGenerator<{ machine: string; execution: string }> {
      for await (const item of queryAll(table, call, { pk: 'XO#' }))
        yield { machine: String(item['machine']), execution: String(item['execution']) };
    },

    /** All strands of an open execution, by id. */
    async strands(call: Call, pk: string): Promise<Map<string, Kept>> {
      const positions = new Map<string, { position: Position; data: Json }>();
      const works = new Map<string, Json>();
      const assigned = new Map<string, { sk: string; values: Fields }[]>();
      for await (const item of queryAll(table, call, { pk, prefix: 'N#' })) {
        const [, kind, strand = ''] = item.sk.split('#');
        if (kind === 'S')
          positions.set(strand, {
            position: JSON.parse(String(item['at'])),
            data: JSON.parse(String(item['data'])),
          });
        else if (kind === 'W') works.set(strand, JSON.parse(String(item['text'])));
        else {
          const list = assigned.get(strand) ?? [];
          list.push({ sk: item.sk, values: JSON.parse(String(item['text'])) });
          assigned.set(strand, list);
        }
      }
      const kept = new Map<string, Kept>();
      for (const [strand, { position, data }] of positions)
        kept.set(strand, {
          position,
          data,
          work: works.get(strand),
          assigned: assigned.get(strand) ?? [],
        });
      return kept;
    },

    async keysNow(call: Call, pk: string): Promise<string[]> {
      const keys: string[] = [];
      for await (const { sk } of queryAll(table, call, { pk, prefix: 'N#' })) keys.push(sk);
      return keys;
    },

    async history(call: Call, pk: string, afterId: number, limit: number): Promise<HistoryEvent[]> {
      const events: HistoryEvent[] = [];
      const from = await firstBlock(table, call, pk, afterId);
      const query = from === undefined ? { pk, prefix: 'H#' } : { pk, prefix: 'H#', after: from };
      for await (const item of queryAll(table, call, query)) {
        const block: HistoryEvent[] = JSON.parse(String(item['events']));
        events.push(...block.filter(({ id }) => id > afterId));
        if (events.length >= limit) break;
      }
      return events.slice(0, limit);
    },

    async lastEventId(call: Call, pk: string): Promise<number> {
      const { items } = await table.query(call, { pk, prefix: 'H#', reverse: true, limit: 1 });
      const block: HistoryEvent[] = JSON.parse(String(items[0]?.['events'] ?? '[]'));
      return block.at(-1)?.id ?? 0;
    },
  };
}
export type Journal = ReturnType<typeof journal>;

/** The sort key just before the block that holds event `afterId + 1`. */
async function firstBlock(
  table: Table,
  call: Call,
  pk: string,
  afterId: number,
): Promise<string | undefined> {
  if (afterId <= 0) return undefined;
  const before = `H#${String(afterId + 1).padStart(6, '0')}`;
  const { items } = await table.query(call, {
    pk,
    prefix: 'H#',
    after: before,
    reverse: true,
    limit: 2,
  });
  return items.at(1)?.sk;
}

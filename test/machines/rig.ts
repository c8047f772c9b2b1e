import type { Event } from '../../functions/kernel/event.ts';
import type { WorkspaceId } from '../../functions/kernel/ids.ts';
import type { Json } from '../../functions/kernel/json.ts';
import {
  type Execution,
  type Item,
  type Key,
  Refused,
  type Table,
  type Task,
} from '../../functions/platform/ports.ts';
import type { Integration } from '../../local/asl/engine.ts';
import type { Timers } from '../../local/asl/timers.ts';
import { type LocalMachines, localMachines } from '../../local/machines.ts';
import { type TestWorld, testCall, testWorld } from '../world.ts';

/** A Table in memory that counts, and that can break off like a killed process. */
export interface MemoryTable extends Table {
  readonly items: Map<string, Item>;
  readonly events: Event[];
  commits: number;
  /** Commits after this many never come back, and change nothing. */
  dieAfter: number;
}

export function memoryTable(from?: Map<string, Item>): MemoryTable {
  const items = from ?? new Map<string, Item>();
  const keyOf = (workspace: string, { pk, sk }: Key) => `${workspace}\0${pk}\0${sk}`;
  const table: MemoryTable = {
    items,
    events: [],
    commits: 0,
    dieAfter: Number.POSITIVE_INFINITY,
    async get(call, key) {
      return items.get(keyOf(call.workspace, key));
    },
    async getMany(call, keys) {
      return keys
        .map((key) => items.get(keyOf(call.workspace, key)))
        .filter((item) => item !== undefined);
    },
    async query(call, { pk, prefix = '', after, reverse, limit = 100 }) {
      const start = `${call.workspace}\0${pk}\0`;
      const found = [...items.keys()]
        .filter((key) => key.startsWith(start + prefix))
        .map((key) => key.slice(start.length))
        .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      if (reverse) found.reverse();
      const left = found.filter((sk) => after === undefined || (reverse ? sk < after : sk > after));
      const page = left.slice(0, limit).flatMap((sk) => items.get(start + sk) ?? []);
      const last = page.at(-1);
      return left.length > limit && last ? { items: page, next: last.sk } : { items: page };
    },
    async commit(call, writes, event) {
      if (table.commits >= table.dieAfter) return new Promise(() => undefined);
      table.commits += 1;
      const names = new Set<string>();
      writes.forEach((write, index) => {
        const key = 'put' in write ? write.put : 'remove' in write ? write.remove : write.check;
        const name = keyOf(call.workspace, key);
        if (names.has(name)) throw new Error(`a commit names ${name} twice`);
        names.add(name);
        if (write.if === 'absent' && items.has(name)) throw new Refused(index);
        if (write.if === 'present' && !items.has(name)) throw new Refused(index);
      });
      if (writes.length > 97) throw new Error(`a commit of ${writes.length} writes`);
      for (const write of writes) {
        if ('put' in write) {
          const bytes = Buffer.byteLength(JSON.stringify(write.put));
          if (bytes > 2 * 400 * 1024) throw new Error(`an item of ${bytes} bytes`);
          items.set(keyOf(call.workspace, write.put), write.put);
        } else if ('remove' in write) items.delete(keyOf(call.workspace, write.remove));
      }
      if (event) table.events.push(event);
    },
    entries: () => Promise.reject(new Error('not here')),
    repeated: () => Promise.resolve(undefined),
  };
  return table;
}

/** Timers that stand until somebody turns the clock. */
export interface HandTimers extends Timers {
  /** Moves the clock to the earliest timer and rings it; false if there is none. */
  ring(): boolean;
  readonly pending: number;
}

export function handTimers(world: TestWorld): HandTimers {
  const waiting = new Map<number, { time: number; callback: () => void }>();
  let next = 0;
  return {
    at(time, callback) {
      const id = next++;
      waiting.set(id, { time, callback });
      return () => void waiting.delete(id);
    },
    ring() {
      const [first] = [...waiting].sort(([a, x], [b, y]) => x.time - y.time || a - b);
      if (!first) return false;
      const [id, { time, callback }] = first;
      waiting.delete(id);
      world.pass(Math.max(0, time - world.now()));
      callback();
      return true;
    },
    get pending() {
      return waiting.size;
    },
  };
}

export interface Rig {
  readonly machines: LocalMachines;
  readonly table: MemoryTable;
  readonly world: TestWorld;
  readonly timers: HandTimers;
  readonly logged: { [name: string]: unknown }[];
  /** Turns the event loop, and the clock when all else stands still, until this holds. */
  until(condition: () => boolean | Promise<boolean>): Promise<void>;
  /** Defines, starts, and runs to the end. */
  run(definition: Json, input?: Json, execution?: string): Promise<Execution>;
  end(machine: string, execution: string): Promise<Execution>;
  types(machine: string, execution: string): Promise<string[]>;
}

export interface RigOptions {
  readonly tasks?: { readonly [name: string]: Task };
  readonly functions?: { readonly [name: string]: Integration };
  readonly integrations?: { readonly [resource: string]: Integration };
  readonly written?: { readonly [name: string]: Json };
  readonly items?: Map<string, Item>;
  readonly world?: TestWorld;
  readonly dieAfter?: number;
  readonly workspaces?: readonly string[];
  /** Holds up reads of the table. */
  readonly beforeRead?: (keys: readonly Key[]) => Promise<void>;
}

export const call = testCall();

export async function rig(options: RigOptions = {}): Promise<Rig> {
  const table = memoryTable(options.items);
  const { getMany } = table;
  table.getMany = async (by, keys) => {
    await options.beforeRead?.(keys);
    return getMany(by, keys);
  };
  table.dieAfter = options.dieAfter ?? Number.POSITIVE_INFINITY;
  const world = options.world ?? testWorld();
  const timers = handTimers(world);
  const logged: { [name: string]: unknown }[] = [];
  const machines = localMachines({
    table,
    world,
    timers,
    written: options.written ?? {},
    log: (line) => void logged.push(line),
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const until: Rig['until'] = async (condition) => {
    for (let turns = 0; turns < 20_000; turns++) {
      if (await condition()) return;
      await turn();
      if (turns % 10 === 9) timers.ring();
    }
    throw new Error(`it never came to pass; logged: ${JSON.stringify(logged).slice(0, 2000)}`);
  };
  const end: Rig['end'] = async (machine, execution) => {
    let found: Execution | undefined;
    await until(async () => {
      found = await machines.describe(call, machine, execution);
      return found !== undefined && found.state !== 'RUNNING' && machines.running() === 0;
    });
    if (!found) throw new Error('gone');
    return found;
  };
  const serving = machines.serve({
    tasks: options.tasks ?? {},
    functions: options.functions ?? {},
    integrations: options.integrations ?? {},
    workspaces: (options.workspaces ?? [call.workspace]) as WorkspaceId[],
  });
  if (options.dieAfter === undefined) await serving;
  return {
    machines,
    table,
    world,
    timers,
    logged,
    until,
    end,
    async run(definition, input = {}, execution = 'e1') {
      await machines.define(call, 'm', definition);
      await machines.start(call, 'm', execution, input);
      return end('m', execution);
    },
    async types(machine, execution) {
      const events = await machines.history(call, machine, execution);
      return events.map(({ type }) => type);
    },
  };
}

/** A machine of these states. */
export const machine = (StartAt: string, States: { [name: string]: Json }): Json => ({
  QueryLanguage: 'JSONata',
  StartAt,
  States,
});

/** A Task that invokes a function with this payload. */
export const invokes = (
  task: string,
  payload: { [name: string]: Json } = {},
): { [k: string]: Json } => ({
  Type: 'Task',
  Resource: 'arn:aws:states:::lambda:invoke',
  Arguments: {
    FunctionName: `stillflow-${task}`,
    Payload: { ...payload, execution: '{% $states.context.Execution.Name %}' },
  },
});

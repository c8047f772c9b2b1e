import { setTimeout as resting } from 'node:timers/promises';
import { systemCall } from '../functions/kernel/call.ts';
import { hears, type Told } from '../functions/kernel/event.ts';
import type { WorkspaceId } from '../functions/kernel/ids.ts';
import type { World } from '../functions/kernel/world.ts';
import type { Bus, Folder, Follower, Item } from '../functions/platform/ports.ts';
import type { LocalTable, Outgoing } from './table.ts';

export interface LocalBusOptions {
  readonly table: LocalTable;
  readonly world: World;
  readonly followers: readonly Follower[];
  readonly folders: readonly Folder[];
  readonly log: (line: Record<string, unknown>) => void;
  /** Calls back after so many ms; tests pass one that they wind themselves. */
  readonly later?: (run: () => void, ms: number) => { cancel(): void };
  /** How long one delivery may take, by its call's deadline. 60 s by default. */
  readonly deliverySeconds?: number;
}

/** A delivery that failed each time it was tried, set aside so that later ones go on. */
export interface DeadLetter {
  /** `<follower>/<sequence>`. */
  readonly id: string;
  readonly follower: string;
  readonly entry: Outgoing;
  readonly error: string;
  /** Absent in letters of older releases: `ATTEMPTS`. */
  readonly attempts?: number;
  /** When it was last tried; milliseconds since the epoch. */
  readonly at: number;
}

export interface LocalBus extends Bus {
  /** Begins to deliver what waits. Until then commits only fill the outbox. */
  start(): void;
  /** Resolves once every follower has heard, or set aside, all that was committed before and what that led to. */
  settled(): Promise<void>;
  /** True if nothing waits and nobody runs. */
  idle(): boolean;
  /** By id, from after `after` on. */
  letters(after?: string, limit?: number): DeadLetter[];
  letter(id: string): DeadLetter | undefined;
  /** Delivers a dead letter once more; it is forgotten when that works, and kept, with the new error, when it throws. */
  replay(id: string): Promise<void>;
  /** Ends after the deliveries under way; what waits is delivered after the next start. */
  stop(): Promise<void>;
}

export const ATTEMPTS = 8;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 30_000;
const BATCH = 100;
/** Entries kept as read, while some line has still to look at them. */
const REMEMBERED = 256;
const REST_MS = 20;
/** A folder folds what gathers in this time at once: ten folds a second, not a fold a write. */
const FOLD_REST_MS = 100;

/** One follower or folder, and how far it is. */
interface Line {
  readonly name: string;
  wants(entry: Outgoing): boolean;
  /** How many of the next entries it takes at once: a folder takes many, a follower one. */
  readonly batch: number;
  /** How long it rests once it has caught up. */
  readonly restMs: number;
  deliver(entries: readonly Outgoing[]): Promise<void>;
  cursor: number;
  /** Up to here it heard all it wants; and so much of that is on the disk. */
  heard: number;
  saved: number;
  running: boolean;
  attempts: number;
  waiting: { cancel(): void } | undefined;
}

/**
 * Delivers the table's outbox. Each follower has a cursor of its own in the table's file, saved after the delivery, so
 * that a killed process delivers again and loses nothing. Nothing is polled: a commit wakes the lines, a failure waits
 * on a timer. In order for one follower; followers do not wait for each other.
 */
export function openBus(options: LocalBusOptions): LocalBus {
  const { table, world, log } = options;
  const later = options.later ?? afterMs;
  const lines = [
    ...options.followers.map((follower) => followerLine(follower, options)),
    ...options.folders.map((folder) => folderLine(folder, options)),
  ];
  for (const line of lines) {
    line.cursor = table.cursors.get(line.name) ?? 0;
    line.heard = line.cursor;
    line.saved = line.cursor;
  }
  const names = new Set(lines.map(({ name }) => name));
  if (names.size < lines.length) throw new Error('Two followers have one name.');
  let started = false;
  let woken = false;
  let stopped = false;
  let waiters: (() => void)[] = [];
  let cleanedTo = 0;
  let saving = false;
  let newest = 0;
  let stale = true;

  /** Of the entries, the last; looked up once a commit. */
  function newestKey(): number {
    if (!stale) return newest;
    stale = false;
    for (const key of table.outbox.getKeys({ reverse: true, limit: 1 }))
      newest = Math.max(newest, key);
    return newest;
  }
  const behind = (line: Line) => line.cursor < newestKey();

  /** Entries never change; all lines look at the same ones, which are read once. */
  const read = new Map<number, Outgoing>();
  function entryAt(key: number): Outgoing | undefined {
    const entry = read.get(key) ?? table.outbox.get(key);
    if (read.size >= REMEMBERED) read.clear();
    if (entry) read.set(key, entry);
    return entry;
  }

  /** Many commits of one turn wake the lines once. */
  function wake() {
    if (!started || stopped || woken) return;
    woken = true;
    setImmediate(() => {
      woken = false;
      if (stopped) return;
      for (const line of lines) if (!line.running && !line.waiting) void pump(line);
      if (lines.length === 0) void save();
    });
  }

  /** Delivers until nothing is left or a delivery failed. Never throws. */
  async function pump(line: Line): Promise<void> {
    line.running = true;
    try {
      while (!stopped) {
        const { entries, last } = take(line);
        if (last === line.cursor) break;
        if (entries.length > 0 && !(await attempt(line, entries))) return;
        line.cursor = last;
        // What it does not hear it may look at again after a restart: no write for that.
        if (entries.length > 0) line.heard = last;
        // What comes meanwhile is taken together, unless somebody waits for it.
        const caughtUp = entries.length > 0 && entries.length < line.batch;
        if (caughtUp && line.restMs > 0 && waiters.length === 0) await resting(line.restMs);
      }
      void save();
    } catch (error) {
      log({ level: 'error', message: 'a line broke', follower: line.name, error: text(error) });
      pause(line);
    } finally {
      line.running = false;
      if (!line.waiting && behind(line)) wake();
      quiet();
    }
  }

  /** The next entries that this line wants, and the last sequence number looked at. */
  function take(line: Line) {
    const entries: { sequence: number; entry: Outgoing }[] = [];
    const until = newestKey();
    let last = line.cursor;
    let looked = 0;
    for (const key of table.outbox.getKeys({ start: line.cursor + 1, limit: BATCH })) {
      const value = entryAt(key);
      if (value && line.wants(value)) {
        if (entries.length > 0 && !sameWorkspace(entries[0]?.entry, value))
          return { entries, last };
        entries.push({ sequence: key, entry: value });
      }
      last = key;
      looked += 1;
      if (entries.length >= line.batch) return { entries, last };
    }
    // Nothing further is there, whatever numbers once were.
    return { entries, last: looked < BATCH ? Math.max(last, until) : last };
  }

  /** True when it was heard or set aside. */
  async function attempt(
    line: Line,
    entries: readonly { sequence: number; entry: Outgoing }[],
  ): Promise<boolean> {
    try {
      await line.deliver(entries.map(({ entry }) => entry));
    } catch (error) {
      line.attempts += 1;
      log({
        level: 'warn',
        message: 'a delivery failed',
        follower: line.name,
        attempt: line.attempts,
        error: text(error),
      });
      if (line.attempts < ATTEMPTS) {
        pause(line);
        return false;
      }
      await setAside(line, entries, error);
    }
    line.attempts = 0;
    return true;
  }

  function pause(line: Line) {
    if (stopped) return;
    const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.max(0, line.attempts - 1));
    const share = (world.randomBytes(1)[0] ?? 0) / 255;
    line.waiting = later(
      () => {
        line.waiting = undefined;
        wake();
      },
      most / 2 + (most / 2) * share,
    );
  }

  async function setAside(
    line: Line,
    entries: readonly { sequence: number; entry: Outgoing }[],
    error: unknown,
  ) {
    await table.write(() => {
      for (const { sequence, entry } of entries) {
        const id = `${line.name}/${sequence}`;
        const letter: DeadLetter = {
          id,
          follower: line.name,
          entry,
          error: text(error),
          attempts: line.attempts,
          at: world.now(),
        };
        void table.letters.put(id, letter);
      }
    });
    log({
      level: 'error',
      message: 'a delivery was set aside',
      follower: line.name,
      error: text(error),
    });
  }

  /**
   * Records how far the lines are and removes what all have behind them: one commit for all that was delivered since
   * the last, beside the deliveries that go on. What was not recorded is delivered again.
   */
  async function save(): Promise<void> {
    if (saving) return;
    saving = true;
    try {
      while (unsaved()) {
        await saveOnce();
        // Under load a commit for many deliveries, unless somebody waits for it.
        if (unsaved() && waiters.length === 0) await resting(REST_MS);
      }
    } catch (error) {
      log({ level: 'error', message: 'a cursor did not move', error: text(error) });
      if (!stopped) later(() => void save(), LONGEST_WAIT_MS);
    } finally {
      saving = false;
      quiet();
    }
  }

  const passed = () => Math.min(newestKey(), ...lines.map(({ cursor }) => cursor));
  const unsaved = () => lines.some((line) => line.heard !== line.saved) || passed() > cleanedTo;

  async function saveOnce(): Promise<void> {
    const moved = lines.filter((line) => line.heard !== line.saved);
    const heard = moved.map((line) => line.heard);
    const done = passed();
    const keys = done > cleanedTo ? [...table.outbox.getKeys({ end: done + 1 })] : [];
    if (moved.length + keys.length > 0)
      await table.write(() => {
        moved.forEach(({ name }, i) => void table.cursors.put(name, heard[i] ?? 0));
        for (const key of keys) void table.outbox.remove(key);
      });
    moved.forEach((line, i) => {
      line.saved = heard[i] ?? 0;
    });
    for (const key of keys) read.delete(key);
    cleanedTo = Math.max(cleanedTo, done);
  }

  const idle = () =>
    !started || (!saving && lines.every((line) => !line.running && !line.waiting && !behind(line)));
  function quiet() {
    if (waiters.length === 0 || !(stopped || idle())) return;
    const ready = waiters;
    waiters = [];
    for (const resolve of ready) resolve();
  }

  table.onOutgoing(() => {
    stale = true;
    wake();
  });

  return {
    start() {
      started = true;
      wake();
    },
    publish: (entries) => table.append(entries),
    idle,
    settled: () =>
      idle() || stopped ? Promise.resolve() : new Promise((resolve) => waiters.push(resolve)),
    letters(after, limit = Number.MAX_SAFE_INTEGER) {
      const from = after === undefined ? {} : { start: `${after}\0` };
      return [...table.letters.getRange({ ...from, limit })].map(
        ({ value }) => value as DeadLetter,
      );
    },
    letter: (id) => table.letters.get(id) as DeadLetter | undefined,

    async replay(id) {
      const letter = table.letters.get(id) as DeadLetter | undefined;
      const line = lines.find(({ name }) => name === letter?.follower);
      if (!letter || !line)
        throw new Error(`No dead letter ${id} of a follower that still exists.`);
      try {
        await line.deliver([letter.entry]);
      } catch (error) {
        const attempts = (letter.attempts ?? ATTEMPTS) + 1;
        const kept: DeadLetter = { ...letter, attempts, error: text(error), at: world.now() };
        await table.write(() => void table.letters.put(id, kept));
        throw error;
      }
      await table.write(() => void table.letters.remove(id));
    },

    async stop() {
      stopped = true;
      for (const line of lines) {
        line.waiting?.cancel();
        line.waiting = undefined;
      }
      while (saving || lines.some(({ running }) => running))
        await new Promise<void>((resolve) => waiters.push(resolve));
    },
  };
}

const fresh = { cursor: 0, heard: 0, saved: 0, running: false, attempts: 0, waiting: undefined };

function followerLine(follower: Follower, options: LocalBusOptions): Line {
  return {
    ...fresh,
    name: follower.name,
    batch: follower.runMany ? BATCH : 1,
    restMs: follower.runMany ? FOLD_REST_MS : 0,
    wants: (entry) => 'told' in entry && hears(follower.hears, entry.told.type),
    async deliver(entries) {
      const [first] = entries;
      if (follower.runMany && first && 'told' in first) {
        const heard = entries.flatMap((entry) => ('told' in entry ? [entry.told] : []));
        const call = callOf(options, follower.name, first.told.workspace, first.told);
        return follower.runMany(call, heard);
      }
      for (const entry of entries)
        if ('told' in entry)
          await follower.run(
            callOf(options, follower.name, entry.told.workspace, entry.told),
            entry.told,
          );
    },
  };
}

function folderLine(folder: Folder, options: LocalBusOptions): Line {
  return {
    ...fresh,
    name: folder.name,
    batch: BATCH,
    restMs: FOLD_REST_MS,
    wants: (entry) => 'item' in entry && entry.prefix === folder.prefix,
    async deliver(entries) {
      const items = entries.flatMap((entry): Item[] => ('item' in entry ? [entry.item] : []));
      const [first] = entries;
      if (first && 'item' in first)
        await folder.fold(callOf(options, folder.name, first.workspace), items);
    },
  };
}

function callOf(
  { world, deliverySeconds = 60 }: LocalBusOptions,
  name: string,
  workspace: string,
  told?: Told,
) {
  const deadline = world.now() + deliverySeconds * 1000;
  return systemCall(workspace as WorkspaceId, name, told?.requestId ?? name, deadline);
}

const workspaceOf = (entry: Outgoing | undefined) =>
  entry && ('told' in entry ? entry.told.workspace : entry.workspace);
const sameWorkspace = (a: Outgoing | undefined, b: Outgoing) => workspaceOf(a) === workspaceOf(b);

function afterMs(run: () => void, ms: number) {
  const timer = setTimeout(run, ms);
  timer.unref();
  return { cancel: () => clearTimeout(timer) };
}

const text = (error: unknown) =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

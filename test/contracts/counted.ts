import type { Key, Table } from '../../functions/platform/ports.ts';

export interface Counts {
  /** Calls of the port, by method. */
  readonly calls: Record<keyof Table, number>;
  /** All of them together. */
  total(): number;
  /** From nought again. */
  reset(): void;
}

/** The same port, but each call of a method that does something goes through `tap`, which runs it. */
export function tapped<Port extends object>(
  port: Port,
  methods: readonly (keyof Port)[],
  tap: (method: keyof Port, run: () => unknown, given: never[]) => unknown,
): Port {
  return new Proxy(port, {
    get(target, name, receiver) {
      const found: unknown = Reflect.get(target, name, receiver);
      const method = name as keyof Port;
      if (typeof found !== 'function' || !methods.includes(method)) return found;
      return (...given: never[]) => tap(method, () => found.apply(target, given), given);
    },
  });
}

/** DynamoDB takes a hundred keys at once. */
const KEYS_A_REQUEST = 100;

/** The same table, with its calls counted: a call of the port is a round trip to the store, or a batch of them. */
export function counted(table: Table): { table: Table; counts: Counts } {
  const none = { get: 0, getMany: 0, query: 0, commit: 0, entries: 0, repeated: 0 };
  const calls = { ...none };
  const methods = Object.keys(calls) as (keyof Table)[];
  const counting = tapped(table, methods, (method, run, [, keys]) => {
    const batches =
      method === 'getMany' ? Math.ceil((keys as unknown as Key[]).length / KEYS_A_REQUEST) : 1;
    calls[method] += Math.max(1, batches);
    return run();
  });
  return {
    table: counting,
    counts: {
      calls,
      total: () => Object.values(calls).reduce((sum, count) => sum + count, 0),
      reset: () => void Object.assign(calls, none),
    },
  };
}

interface Stacked {
  readonly middlewareStack: {
    add(
      middleware: (
        next: (given: never) => Promise<unknown>,
        context: { commandName?: string },
      ) => (given: never) => Promise<unknown>,
      options: { step: 'finalizeRequest'; name: string; priority: 'low' },
    ): void;
  };
}

/** Counts the requests that an AWS client really sends, retries among them, by command. */
export function countedRequests(client: Stacked): Map<string, number> {
  const sent = new Map<string, number>();
  client.middlewareStack.add(
    (next, { commandName = 'unknown' }) =>
      (given) => {
        sent.set(commandName, (sent.get(commandName) ?? 0) + 1);
        return next(given);
      },
    { step: 'finalizeRequest', name: 'countRequests', priority: 'low' },
  );
  return sent;
}

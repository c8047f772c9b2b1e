import type { Table } from '../../functions/platform/ports.ts';

export interface Counts {
  /** Calls of the port, by method. */
  readonly calls: Record<keyof Table, number>;
  /** All of them together. */
  total(): number;
  /** From nought again. */
  reset(): void;
}

/** The same table, with its calls counted: a call of the port is a round trip to the store, or a batch of them. */
export function counted(table: Table): { table: Table; counts: Counts } {
  const calls = { get: 0, getMany: 0, query: 0, commit: 0, entries: 0, repeated: 0 };
  const counting = new Proxy(table, {
    get(target, name, receiver) {
      const found: unknown = Reflect.get(target, name, receiver);
      if (typeof found !== 'function' || !Object.hasOwn(calls, name)) return found;
      return (...given: unknown[]) => {
        calls[name as keyof Table] += 1;
        return found.apply(target, given);
      };
    },
  });
  return {
    table: counting,
    counts: {
      calls,
      total: () => Object.values(calls).reduce((sum, count) => sum + count, 0),
      reset() {
        for (const name of Object.keys(calls) as (keyof Table)[]) calls[name] = 0;
      },
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

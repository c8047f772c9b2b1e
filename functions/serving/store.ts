import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { countUpTo, type Item, queryAll, removeAll, type Table } from '../platform/ports.ts';
import { Endpoint, Revision } from './model.ts';

const keys = {
  endpoint: (name: string) => ({ pk: 'S#endpoints', sk: name }),
  revision: (name: string, revision: string) => ({ pk: `S#${name}`, sk: `R#${revision}` }),
};

const endpointItem = (endpoint: Endpoint): Item => ({
  ...keys.endpoint(endpoint.name),
  ...(endpoint as unknown as Item),
});
const revisionItem = (revision: Revision): Item => ({
  ...keys.revision(revision.endpoint, revision.revision),
  ...(revision as unknown as Item),
});

export function servingStore(table: Table) {
  return {
    async find(call: Call, name: string): Promise<Endpoint | undefined> {
      const item = await table.get(call, keys.endpoint(name));
      return item && Endpoint.parse(item);
    },
    async revision(call: Call, name: string, revision: string): Promise<Revision | undefined> {
      const item = await table.get(call, keys.revision(name, revision));
      return item && Revision.parse(item);
    },
    /**
     * Puts the endpoint if it still stands at `before` (absent when undefined), its revisions with it.
     * Throws `Refused` when another change came first.
     */
    async change(
      call: Call,
      before: Endpoint | undefined,
      after: Endpoint,
      revisions: readonly Revision[],
      event: Event,
    ): Promise<void> {
      const condition = before ? { equal: { generation: before.generation } } : 'absent';
      await table.commit(
        call,
        [
          { put: endpointItem(after), if: condition },
          ...revisions.map((revision) => ({ put: revisionItem(revision) })),
        ],
        event,
      );
    },
    /** Throws `Refused` if the endpoint has changed since `before` was read. */
    async remove(call: Call, before: Endpoint, event: Event): Promise<void> {
      const condition = { equal: { generation: before.generation } };
      await table.commit(call, [{ remove: keys.endpoint(before.name), if: condition }], event);
    },
    /**
     * The history goes after the endpoint itself, in bounded commits; idempotent. Only revisions up to `until`, so
     * that an endpoint made again under the name keeps its own.
     */
    removeRevisions(call: Call, name: string, until: string): Promise<void> {
      const query = { pk: `S#${name}`, prefix: 'R#', until: `R#${until}` };
      return removeAll(table, call, queryAll(table, call, query));
    },
    countUpTo: (call: Call, limit: number): Promise<number> =>
      countUpTo(table, call, { pk: 'S#endpoints' }, limit),
    async page(
      call: Call,
      limit: number,
      after?: string,
    ): Promise<{ endpoints: Endpoint[]; next?: string }> {
      const found = await table.query(call, {
        pk: 'S#endpoints',
        limit,
        ...(after === undefined ? {} : { after }),
      });
      const endpoints = found.items.map((item) => Endpoint.parse(item));
      return found.next === undefined ? { endpoints } : { endpoints, next: found.next };
    },
    async all(call: Call): Promise<Endpoint[]> {
      const endpoints: Endpoint[] = [];
      for await (const item of queryAll(table, call, { pk: 'S#endpoints' }))
        endpoints.push(Endpoint.parse(item));
      return endpoints;
    },
    /** Newest first. */
    async revisions(
      call: Call,
      name: string,
      limit: number,
      after?: string,
    ): Promise<{ revisions: Revision[]; next?: string }> {
      const found = await table.query(call, {
        pk: `S#${name}`,
        prefix: 'R#',
        reverse: true,
        limit,
        ...(after === undefined ? {} : { after }),
      });
      const revisions = found.items.map((item) => Revision.parse(item));
      return found.next === undefined ? { revisions } : { revisions, next: found.next };
    },
  };
}
export type ServingStore = ReturnType<typeof servingStore>;

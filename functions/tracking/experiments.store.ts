import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import {
  getAll,
  type Item,
  type Key,
  type Platform,
  queryAll,
  Refused,
  type Write,
} from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import { DEFAULT_EXPERIMENT, type Experiment, type ExperimentId } from './model.ts';

/** Ids as a list sorts them; `007` and `7` are one experiment, as int() has it. */
const plain = (id: string) => id.replace(/^0+(?=\d)/, '');
const padded = (id: string) => plain(id).padStart(18, '0');

const keys = {
  experiment: (id: string): Key => ({ pk: `X#${plain(id)}`, sk: 'META' }),
  listed: (id: string): Key => ({ pk: 'XS', sk: padded(id) }),
  counter: { pk: 'XS#NEXT', sk: '-' },
  /** A digest, since a name may be longer than a key. */
  name: (name: string): Key => ({
    pk: `N#exp#${createHash('sha256').update(name.toWellFormed()).digest('hex')}`,
    sk: '-',
  }),
};

export const experimentKey = keys.experiment;

/** Below the table's 400 KB, with room for the rest of the record. */
const MAX_TAG_BYTES = 350 * 1024;

function encodeExperiment(experiment: Experiment): Item {
  const { id, name, artifactRoot, lifecycle, createdAt, updatedAt, shards, version } = experiment;
  const tags = JSON.stringify([...experiment.tags]);
  if (Buffer.byteLength(tags) > MAX_TAG_BYTES)
    throw new Problem(
      'invalid',
      `The tags of an experiment may take ${MAX_TAG_BYTES} bytes at most.`,
      {
        field: 'value',
      },
    );
  return {
    ...keys.experiment(id),
    id,
    lifecycle,
    shards,
    ...(experiment.watched ? { watched: true } : {}),
    version,
    body: JSON.stringify({ name, artifactRoot, createdAt, updatedAt }),
    tags,
  };
}

export function decodeExperiment(item: Item): Experiment {
  return {
    ...JSON.parse(String(item['body'])),
    id: item['id'],
    lifecycle: item['lifecycle'],
    shards: item['shards'],
    ...(item['watched'] ? { watched: true } : {}),
    version: item['version'],
    tags: new Map(JSON.parse(String(item['tags']))),
  };
}

/** Experiments: a record each, a reservation of each name, a list, and the counter that gives the ids. */
export function experimentStore(
  { table, world }: Pick<Platform, 'table' | 'world'>,
  rootOf: RootOf,
) {
  const settle = settler(world);

  async function get(call: Call, id: ExperimentId): Promise<Experiment | undefined> {
    const item = await table.get(call, keys.experiment(id));
    if (item) return decodeExperiment(item);
    return padded(id) === padded(DEFAULT_EXPERIMENT) ? makeDefault(call) : undefined;
  }

  /** Made when it is first asked for: building a workspace touches nothing. */
  async function makeDefault(call: Call): Promise<Experiment | undefined> {
    const experiment = fresh(DEFAULT_EXPERIMENT, 'Default', rootOf(call, DEFAULT_EXPERIMENT), []);
    try {
      await table.commit(
        call,
        [
          { put: encodeExperiment(experiment), if: 'absent' },
          { put: { ...keys.listed(experiment.id), id: experiment.id } },
          { put: { ...keys.name(experiment.name), id: experiment.id }, if: 'absent' },
        ],
        {
          type: 'tracking.experiment.created',
          subject: `experiments/${experiment.id}`,
          data: { experimentId: experiment.id, name: experiment.name },
        },
      );
      return experiment;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const item = await table.get(call, keys.experiment(DEFAULT_EXPERIMENT));
      return item && decodeExperiment(item);
    }
  }

  function fresh(
    id: ExperimentId,
    name: string,
    artifactRoot: string,
    tags: Iterable<readonly [string, string]>,
  ): Experiment {
    const createdAt = world.now();
    const times = { createdAt, updatedAt: createdAt };
    return {
      id,
      name,
      artifactRoot,
      lifecycle: 'active',
      ...times,
      tags: new Map(tags),
      shards: 1,
      version: 1,
    };
  }

  return {
    get,
    makeDefault,

    /** The experiment that has the name, deleted or not. */
    async named(call: Call, name: string): Promise<Experiment | undefined> {
      const held = await table.get(call, keys.name(name));
      if (held) return get(call, held['id'] as ExperimentId);
      if (name !== 'Default') return undefined;
      const made = await get(call, DEFAULT_EXPERIMENT);
      return made?.name === name ? made : undefined;
    },

    /** Throws `exists`. The id comes from the counter, in the commit that reserves the name. */
    async create(
      call: Call,
      name: string,
      artifactRoot: string | undefined,
      tags: ReadonlyMap<string, string>,
    ): Promise<Experiment> {
      return settle(call, 'experiments', async () => {
        const counter = await table.get(call, keys.counter);
        const next = Number(counter?.['next'] ?? 1);
        const id = String(next) as ExperimentId;
        const experiment = fresh(id, name, artifactRoot ?? rootOf(call, id), tags);
        const event: Event = {
          type: 'tracking.experiment.created',
          subject: `experiments/${id}`,
          data: { experimentId: id, name },
        };
        const writes = [
          { put: { ...keys.name(name), id }, if: 'absent' },
          {
            put: { ...keys.counter, next: next + 1 },
            if: counter ? { equal: { next } } : 'absent',
          },
          { put: encodeExperiment(experiment), if: 'absent' },
          { put: { ...keys.listed(id), id } },
        ] as const;
        await table.commit(call, writes, event).catch(nameTaken(name, 0));
        return experiment;
      });
    },

    /**
     * Changes what `edit` gives, unless it gives undefined; a rename moves the reservation of the name in the same
     * commit. Throws `missing`, `exists`, and what `edit` throws.
     */
    async change(
      call: Call,
      id: ExperimentId,
      edit: (experiment: Experiment) => Partial<Experiment> | undefined,
      event: Event,
    ): Promise<Experiment> {
      return settle(call, `experiments/${id}`, async () => {
        const before = await get(call, id);
        if (!before) throw absent(id);
        const edited = edit(before);
        if (!edited) return before;
        const after = { ...before, ...edited, version: before.version + 1 };
        const writes: Write[] = [
          { put: encodeExperiment(after), if: { equal: { version: before.version } } },
        ];
        if (after.name !== before.name)
          writes.push(
            { put: { ...keys.name(after.name), id: before.id }, if: 'absent' },
            { remove: keys.name(before.name) },
          );
        await table.commit(call, writes, event).catch(nameTaken(after.name, 1));
        return after;
      });
    },

    /** All of the workspace, by id. */
    async list(call: Call): Promise<Experiment[]> {
      const ids: string[] = [];
      for await (const item of queryAll(table, call, { pk: 'XS' })) ids.push(String(item['id']));
      const found: Experiment[] = [];
      if (!ids.includes(DEFAULT_EXPERIMENT)) {
        const made = await makeDefault(call);
        if (made) found.push(made);
      }
      const kept = await getAll(table, call, ids.map(keys.experiment));
      return [...found, ...kept.map(decodeExperiment)];
    },
  };
}

/** Where the artifacts of an experiment lie if its creator does not say. */
export type RootOf = (call: Call, id: ExperimentId) => string;

export const absent = (id: string) =>
  new Problem('missing', `No Experiment with id=${id} exists`, { field: 'experiment_id' });

/** A commit refused at the write that reserves the name is `exists`; at another it is tried again. */
const nameTaken = (name: string, index: number) => (error: unknown) => {
  if (!(error instanceof Refused) || error.index !== index) throw error;
  throw new Problem('exists', `Experiment(name=${name}) already exists.`, { field: 'name' });
};

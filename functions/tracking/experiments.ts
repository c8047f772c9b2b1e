import type { Call } from '../kernel/call.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { checkedPath } from '../kernel/path.ts';
import { Problem } from '../kernel/problem.ts';
import type { Platform } from '../platform/ports.ts';
import { absent, experimentStore } from './experiments.store.ts';
import { readExperimentQuery } from './filter.ts';
import {
  checkKey,
  type Experiment,
  ExperimentId,
  LIMITS,
  type Lifecycle,
  type Tag,
  type View,
} from './model.ts';
import { afterPosition, idOf, type PageEnd, pageOf, positionOf } from './order.ts';

export interface ExperimentSearch {
  readonly filter?: string;
  readonly orderBy?: readonly string[];
  readonly view?: View;
  readonly maxResults?: number;
  readonly pageToken?: string;
}

/** Experiments: who has which name, and what its runs stand under. */
export function experimentsService(
  platform: Pick<Platform, 'table' | 'blobs' | 'world' | 'artifacts'>,
  pages: Pages,
) {
  const rootOf = (call: Call, id: ExperimentId) =>
    platform.artifacts === 'proxy'
      ? `mlflow-artifacts:/${id}`
      : platform.blobs.locate(call, `artifacts/${id}`);
  const store = experimentStore(platform, rootOf);
  const { world } = platform;

  async function get(call: Call, id: ExperimentId): Promise<Experiment> {
    const experiment = await store.get(call, id);
    if (!experiment) throw absent(id);
    return experiment;
  }

  async function create(
    call: Call,
    asked: { name: string; artifactRoot?: string; tags?: readonly Tag[] },
  ): Promise<Experiment> {
    checkName(asked.name, 'name');
    const root = asked.artifactRoot
      ? checkRoot(call, asked.artifactRoot, platform.blobs)
      : undefined;
    for (const tag of asked.tags ?? []) checkTag(tag);
    await store.get(call, DEFAULT);
    const tags = new Map((asked.tags ?? []).map(({ key, value }) => [key, value]));
    return store.create(call, asked.name, root, tags);
  }

  const change = (
    call: Call,
    id: ExperimentId,
    verb: string,
    data: object,
    edit: (experiment: Experiment) => Partial<Experiment> | undefined,
  ) =>
    store.change(call, id, edit, {
      type: `tracking.experiment.${verb}`,
      subject: `experiments/${id}`,
      data: { experimentId: id, ...data },
    });

  return {
    create,
    get,

    /** Undefined for what is no id, or nobody's. */
    async find(call: Call, id: string): Promise<Experiment | undefined> {
      const read = ExperimentId.safeParse(id);
      return read.success ? store.get(call, read.data) : undefined;
    },

    /** Deleted ones too, since their names stay taken. Throws `missing`. */
    async getByName(call: Call, name: string): Promise<Experiment> {
      const found = await store.named(call, name);
      if (found) return found;
      throw new Problem('missing', `Could not find experiment with name '${name}'`, {
        field: 'experiment_name',
      });
    },

    /** The active experiment of that name, made if nobody has it. Throws `precondition` if it is deleted. */
    async ensure(call: Call, name: string): Promise<Experiment> {
      const found = (await store.named(call, name)) ?? (await createOnce(call, name));
      if (found.lifecycle === 'deleted') throw notActive(found);
      return found;
    },

    /** Throws `missing`, `exists`, or `precondition` on a deleted one. */
    async rename(call: Call, id: ExperimentId, name: string): Promise<void> {
      checkName(name, 'new_name');
      await change(call, id, 'renamed', { name }, (experiment) => {
        if (experiment.lifecycle !== 'active')
          // 400, not stock's 500, which clients would retry. Source: mlflow.md section 5.4 item 13.
          throw new Problem('precondition', 'Cannot rename a non-active experiment.', {
            field: 'experiment_id',
            word: 'INVALID_STATE',
          });
        return experiment.name === name ? undefined : { name, updatedAt: world.now() };
      });
    },

    /** `missing` where it already stands so: stock looks it up by its stage. */
    async setLifecycle(call: Call, id: ExperimentId, lifecycle: Lifecycle): Promise<void> {
      const verb = lifecycle === 'deleted' ? 'deleted' : 'restored';
      await change(call, id, verb, {}, (experiment) => {
        if (experiment.lifecycle === lifecycle) throw absent(id);
        return { lifecycle, updatedAt: world.now() };
      });
    },

    /** From now on each point is looked at by metric rules. Throws `missing`. */
    async watch(call: Call, id: ExperimentId): Promise<void> {
      await change(call, id, 'watched', {}, ({ watched }) =>
        watched ? undefined : { watched: true },
      );
    },

    async setTag(call: Call, id: ExperimentId, tag: Tag): Promise<void> {
      checkTag(tag);
      await change(call, id, 'tagged', { key: tag.key }, (experiment) => {
        if (experiment.lifecycle !== 'active') throw notActive(experiment);
        if (experiment.tags.get(tag.key) === tag.value) return undefined;
        const tags = new Map(experiment.tags).set(tag.key, tag.value);
        return { tags, updatedAt: world.now() };
      });
    },

    /** Throws `missing` if it has no such tag. */
    async deleteTag(call: Call, id: ExperimentId, key: string): Promise<void> {
      await change(call, id, 'untagged', { key }, (experiment) => {
        if (experiment.lifecycle !== 'active') throw notActive(experiment);
        const tags = new Map(experiment.tags);
        if (!tags.delete(key))
          throw new Problem('missing', `No tag with name: ${key} in experiment with id ${id}`, {
            field: 'key',
          });
        return { tags, updatedAt: world.now() };
      });
    },

    /** Newest first unless asked otherwise. Throws `invalid`. */
    async search(call: Call, asked: ExperimentSearch): Promise<Page<Experiment>> {
      const { filter = '', orderBy = [], view = 'active', maxResults = 1000 } = asked;
      const query = readExperimentQuery(filter, orderBy);
      const bound = ['experiments', filter, orderBy, view];
      const end = asked.pageToken ? pages.open<PageEnd>(call, bound, asked.pageToken) : undefined;
      const all = await store.list(call);
      const ended = end && all.find(({ id }) => id === idOf(end));
      const after = end && positionOf(query, end, ended);
      const found = all.filter(
        (experiment) =>
          (view === 'all' || experiment.lifecycle === view) &&
          query.matches(experiment) &&
          afterPosition(query, experiment, after),
      );
      const { items, last } = pageOf(query, found, maxResults);
      return last ? { items, next: pages.seal(call, bound, last) } : { items };
    },
  };

  async function createOnce(call: Call, name: string): Promise<Experiment> {
    try {
      return await create(call, { name });
    } catch (error) {
      const winner =
        error instanceof Problem && error.code === 'exists'
          ? await store.named(call, name)
          : undefined;
      if (winner) return winner;
      throw error;
    }
  }
}

const DEFAULT = '0' as ExperimentId;

export const notActive = ({ id, lifecycle }: Experiment) =>
  new Problem(
    'precondition',
    `The experiment ${id} must be in the 'active' state. Current state is ${lifecycle}.`,
    { field: 'experiment_id' },
  );

/**
 * A name is text, never a path of ours; still, what only serves to climb out of one, or to look like another name, is
 * refused. Throws `invalid`. Source: hardening.md A14.
 */
function checkName(name: string, field: string): void {
  const refuse = (why: string) =>
    new Problem('invalid', `Invalid experiment name in '${field}': it ${why}.`, { field });
  if (name.trim() === '') throw refuse('is empty');
  if (name.length > LIMITS.experimentNameLength)
    throw refuse(`exceeds the maximum length of ${LIMITS.experimentNameLength} characters`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses.
  if (/[\u0000-\u001f\u007f-\u009f\ufffd\ud800-\udfff]|\p{Cf}/u.test(name))
    throw refuse('holds a control or invisible character');
  if (/%[0-9a-f]{2}/i.test(name)) throw refuse('holds a percent-encoded character');
  const segments = name.normalize('NFKC').split(/[/\\]/);
  if (segments.some((segment) => /^[.\s]*\.[.\s]*$/.test(segment)))
    throw refuse('has a path segment made of dots');
}

function checkTag({ key, value }: Tag): void {
  checkKey(key, 'key', 'key');
  if (value.length > LIMITS.experimentTagLength)
    throw new Problem(
      'invalid',
      `'value' exceeds the maximum length of ${LIMITS.experimentTagLength} characters`,
      { field: 'value' },
    );
}

/**
 * Where artifacts may lie: below `mlflow-artifacts:/`, or below `artifacts/` of this workspace. Throws `invalid`.
 * Stock takes any URI; anything else would let a name choose whose bytes are read. Source: hardening.md A14, B08.
 */
function checkRoot(call: Call, root: string, blobs: Platform['blobs']): string {
  const field = 'artifact_location';
  if (root.length > LIMITS.artifactLocationLength)
    throw new Problem(
      'invalid',
      `Invalid artifact path length. The length of the artifact path cannot be greater than ${LIMITS.artifactLocationLength}.`,
      { field },
    );
  const proxied = /^mlflow-artifacts:\/(?!\/)(.*?)\/?$/s.exec(root)?.[1];
  if (proxied !== undefined) return `mlflow-artifacts:/${checkedPath(proxied, field)}`;
  const kept = blobs.pathOf(call, root);
  if (!kept?.startsWith('artifacts/'))
    throw new Problem(
      'invalid',
      `Invalid value for '${field}': it must be mlflow-artifacts:/<path> or lie below ${blobs.locate(call, 'artifacts')}.`,
      { field },
    );
  return blobs.locate(call, checkedPath(kept.replace(/\/$/, ''), field));
}

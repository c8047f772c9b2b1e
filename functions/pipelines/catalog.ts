import { readStackMachine } from '../../statemachines/resources.ts';
import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import { newUuid } from '../kernel/world.ts';
import type { Platform } from '../platform/ports.ts';
import type { PipelineDocument } from './document.ts';
import type {
  Experiment,
  ExperimentId,
  Pipeline,
  PipelineId,
  Version,
  VersionId,
} from './model.ts';
import type { Specs } from './specs.ts';
import type { PipelinesStore } from './store.ts';

interface NewPipeline {
  readonly name: string;
  readonly displayName: string;
  readonly description: string;
  readonly tags: Readonly<Record<string, string>>;
}
export interface NewVersion extends NewPipeline {
  readonly codeSourceUrl?: string;
  /** One that a stack made: it is neither defined nor removed here. */
  readonly machine?: string;
}

/** A new installation has one. Source: backend/src/apiserver/resource, CreateDefaultExperiment. */
const DEFAULT: Experiment = {
  id: '00000000-0000-4000-8000-000000000000' as ExperimentId,
  name: 'Default',
  description: 'Runs that name no experiment.',
  createdAt: 0,
  storage: 'AVAILABLE',
};

/** What may be changed afterwards; what is undefined stays. */
export interface Described {
  readonly displayName?: string | undefined;
  readonly description?: string | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
}
const given = ({ displayName, description, tags }: Described) => ({
  ...(displayName === undefined ? {} : { displayName }),
  ...(description === undefined ? {} : { description }),
  ...(tags === undefined ? {} : { tags }),
});

export type Catalog = ReturnType<typeof catalogOf>;

/** What runs are made from: experiments, pipelines and their versions. */
export function catalogOf(platform: Platform, store: PipelinesStore, specs: Specs) {
  const { world, machines } = platform;
  const about = (type: `pipelines.${string}.${string}`, subject: string, data: unknown): Event => ({
    type,
    subject,
    data,
  });

  const catalog = {
    // -------------------------------------------------------------- experiments

    /** Throws `exists`. */
    async createExperiment(call: Call, name: string, description: string): Promise<Experiment> {
      if (name === DEFAULT.name)
        throw new Problem(
          'exists',
          `Already exist error: an experiment named '${name}' already exists.`,
        );
      const id = newUuid(world) as ExperimentId;
      const createdAt = world.now();
      const experiment: Experiment = { id, name, description, createdAt, storage: 'AVAILABLE' };
      const subject = `pipelines/experiments/${id}`;
      const event = about('pipelines.experiment.created', subject, experiment);
      await store.createExperiment(call, experiment, event);
      return experiment;
    },
    /** Throws `missing`. */
    async getExperiment(call: Call, id: ExperimentId): Promise<Experiment> {
      const found = await store.getExperiment(call, id);
      if (found) return found;
      if (id === DEFAULT.id) return DEFAULT;
      throw new Problem('missing', `Experiment ${id} not found.`);
    },
    /** The same, and from now on in the table: `Default` is there from the start, its record from its first use. */
    async usedExperiment(call: Call, id: ExperimentId = DEFAULT.id): Promise<Experiment> {
      const experiment = await catalog.getExperiment(call, id);
      if (experiment !== DEFAULT) return experiment;
      const used = { ...DEFAULT, createdAt: world.now() };
      const event = about('pipelines.experiment.created', `pipelines/experiments/${id}`, used);
      try {
        await store.createExperiment(call, used, event);
        return used;
      } catch (error) {
        const winner = await store.getExperiment(call, id);
        if (winner) return winner;
        throw error;
      }
    },
    /** The experiment of this name, made if nobody has it. */
    async ensureExperiment(call: Call, name: string): Promise<Experiment> {
      if (name === DEFAULT.name) return catalog.usedExperiment(call);
      const found = await store.findExperiment(call, name);
      if (found) return found;
      try {
        return await catalog.createExperiment(call, name, '');
      } catch (error) {
        const winner = await store.findExperiment(call, name);
        if (winner) return winner;
        throw error;
      }
    },
    async listExperiments(call: Call): Promise<Experiment[]> {
      const found = await store.listExperiments(call);
      return found.some(({ id }) => id === DEFAULT.id) ? found : [DEFAULT, ...found];
    },
    /** Archiving takes its runs along; unarchiving does not bring them back. Source: kfp.md section 1.5. */
    async storeExperiment(call: Call, id: ExperimentId, storage: Experiment['storage']) {
      const type =
        storage === 'ARCHIVED'
          ? 'pipelines.experiment.archived'
          : 'pipelines.experiment.unarchived';
      await catalog.usedExperiment(call, id);
      await store.changeExperiment(call, id, (experiment) =>
        experiment.storage === storage
          ? undefined
          : {
              record: { ...experiment, storage },
              event: about(type, `pipelines/experiments/${id}`, { id }),
            },
      );
      if (storage === 'ARCHIVED') await catalog.archiveRunsOf(call, id);
    },
    async archiveRunsOf(call: Call, id: ExperimentId): Promise<void> {
      for (const run of await store.listRuns(call))
        if (run.experimentId === id && run.storage !== 'ARCHIVED')
          await store.changeRun(call, run.id, (record) =>
            record.storage === 'ARCHIVED'
              ? undefined
              : {
                  record: { ...record, storage: 'ARCHIVED' },
                  event: about('pipelines.run.archived', `pipelines/runs/${run.id}`, {
                    id: run.id,
                  }),
                },
          );
    },
    /** Its runs stay. Throws `missing`, and `precondition` for the default one. */
    async deleteExperiment(call: Call, id: ExperimentId): Promise<void> {
      const experiment = await catalog.getExperiment(call, id);
      if (id === DEFAULT.id)
        throw new Problem('precondition', 'The Default experiment cannot be deleted.');
      const event = about('pipelines.experiment.deleted', `pipelines/experiments/${id}`, { id });
      await store.removeExperiment(call, experiment, event);
    },

    // -------------------------------------------------------------- pipelines

    /** With a first version of the same name if a document is given. Throws `invalid` and `exists`. */
    async createPipeline(
      call: Call,
      wanted: NewVersion,
      document?: PipelineDocument,
    ): Promise<Pipeline> {
      const id = newUuid(world) as PipelineId;
      const createdAt = world.now();
      const { codeSourceUrl: _, machine: __, ...fields } = wanted;
      const pipeline: Pipeline = { id, createdAt, ...fields };
      const version = document && (await versionOf(call, id, wanted, document));
      const event = about('pipelines.pipeline.created', `pipelines/${id}`, { pipeline, version });
      await store.createPipeline(call, pipeline, event, version);
      return pipeline;
    },
    /** Throws `missing`. */
    async getPipeline(call: Call, id: PipelineId): Promise<Pipeline> {
      const found = await store.getPipeline(call, id);
      if (!found) throw new Problem('missing', `Pipeline ${id} not found.`);
      return found;
    },
    /** Throws `missing`. */
    async findPipeline(call: Call, name: string): Promise<Pipeline> {
      const found = await store.findPipeline(call, name);
      if (!found) throw new Problem('missing', `Pipeline '${name}' not found.`);
      return found;
    },
    listPipelines: store.listPipelines,
    /** Throws `missing`. */
    changePipeline: (call: Call, id: PipelineId, change: Described): Promise<Pipeline> =>
      store.changePipeline(call, id, (pipeline) => {
        const record = { ...pipeline, ...given(change) };
        return { record, event: about('pipelines.pipeline.updated', `pipelines/${id}`, record) };
      }),
    /** Throws `missing`, and `precondition` while it has versions, unless `cascade`. */
    async deletePipeline(call: Call, id: PipelineId, cascade: boolean): Promise<void> {
      const pipeline = await catalog.getPipeline(call, id);
      const versions = await store.listVersions(call, id);
      if (versions.length && !cascade)
        throw new Problem(
          'precondition',
          `Pipeline ${id} has ${versions.length} versions. Delete them first, or ask with cascade=true.`,
        );
      for (const version of versions) await catalog.deleteVersion(call, id, version.id);
      const event = about('pipelines.pipeline.deleted', `pipelines/${id}`, { id });
      await store.removePipeline(call, pipeline, event);
    },

    // -------------------------------------------------------------- versions

    /** Throws `invalid`, `missing` and `exists`. */
    async createVersion(
      call: Call,
      pipelineId: PipelineId,
      wanted: NewVersion,
      document: PipelineDocument,
    ): Promise<Version> {
      await catalog.getPipeline(call, pipelineId);
      const version = await versionOf(call, pipelineId, wanted, document);
      const event = about('pipelines.version.created', `pipelines/${pipelineId}`, version);
      await store.createVersion(call, version, event);
      return version;
    },
    /** Throws `missing`. */
    async getVersion(call: Call, pipelineId: PipelineId, id: VersionId): Promise<Version> {
      const found = await store.getVersion(call, pipelineId, id);
      if (found) return found;
      const home = await store.homeOf(call, id);
      if (home)
        throw new Problem(
          'invalid',
          `Version ${id} belongs to pipeline ${home}, not ${pipelineId}.`,
          {
            field: 'pipeline_version_reference',
          },
        );
      throw new Problem('missing', `Pipeline version ${id} not found.`);
    },
    async versionById(call: Call, id: VersionId): Promise<Version> {
      const home = await store.homeOf(call, id);
      if (!home) throw new Problem('missing', `Pipeline version ${id} not found.`);
      return catalog.getVersion(call, home, id);
    },
    /** Throws `missing`, and `precondition` if it has none. */
    async newestVersion(call: Call, pipelineId: PipelineId): Promise<Version> {
      await catalog.getPipeline(call, pipelineId);
      const versions = await catalog.listVersions(call, pipelineId);
      const newest = versions.reduce<Version | undefined>(
        (best, each) => (best && best.createdAt >= each.createdAt ? best : each),
        undefined,
      );
      if (!newest) throw new Problem('precondition', `Pipeline ${pipelineId} has no version.`);
      return newest;
    },
    listVersions: store.listVersions,
    document: (call: Call, version: Version) => specs.document(call, version.spec),
    /** Throws `missing`. */
    async changeVersion(
      call: Call,
      pipelineId: PipelineId,
      id: VersionId,
      change: Described,
    ): Promise<Version> {
      const version = await catalog.getVersion(call, pipelineId, id);
      return store.changeVersion(call, version, (now) => {
        const record = { ...now, ...given(change) };
        return {
          record,
          event: about('pipelines.version.updated', `pipelines/${pipelineId}`, record),
        };
      });
    },
    /** The newest again, after the one that is. Throws `missing`. */
    renewVersion(call: Call, version: Version, newest: Version): Promise<Version> {
      const createdAt = Math.max(world.now(), newest.createdAt + 1);
      return store.changeVersion(call, version, (now) => {
        const record = { ...now, createdAt };
        return {
          record,
          event: about('pipelines.version.renewed', `pipelines/${version.pipelineId}`, record),
        };
      });
    },
    /** The machine goes too, unless another version is the same; every start defines it anew. */
    async deleteVersion(call: Call, pipelineId: PipelineId, id: VersionId): Promise<void> {
      const version = await catalog.getVersion(call, pipelineId, id);
      const event = about('pipelines.version.deleted', `pipelines/${pipelineId}`, { id });
      await store.removeVersion(call, version, event);
      if (readStackMachine(version.machine)) return;
      const rest = await store.listVersions(call, pipelineId);
      if (!rest.some(({ machine }) => machine === version.machine))
        await machines.remove(call, version.machine);
    },
  };

  async function versionOf(
    call: Call,
    pipelineId: PipelineId,
    { codeSourceUrl, machine, ...fields }: NewVersion,
    document: PipelineDocument,
  ): Promise<Version> {
    const compiled = specs.compile(document);
    const spec = machine
      ? await store.keepSpec(call, document)
      : await specs.keep(call, document, compiled);
    return {
      id: newUuid(world) as VersionId,
      pipelineId,
      createdAt: world.now(),
      ...fields,
      ...(codeSourceUrl ? { codeSourceUrl } : {}),
      spec,
      machine: machine ?? compiled.machine,
      warnings: compiled.plan.warnings,
    };
  }
  return catalog;
}

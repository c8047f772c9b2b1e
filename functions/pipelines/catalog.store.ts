import type { Call } from '../kernel/call.ts';
import type { Event } from '../kernel/event.ts';
import { Problem } from '../kernel/problem.ts';
import type { Key, Write } from '../platform/ports.ts';
import type {
  Experiment,
  ExperimentId,
  Pipeline,
  PipelineId,
  Version,
  VersionId,
} from './model.ts';
import { fresh, nameKey, pointer, type Records } from './records.ts';

export const keys = {
  experiment: (id: ExperimentId): Key => ({ pk: 'KFP#experiments', sk: id }),
  experimentName: (name: string): Key => ({ pk: 'KFP#experiment-names', sk: nameKey(name) }),
  pipeline: (id: PipelineId): Key => ({ pk: 'KFP#pipelines', sk: id }),
  pipelineName: (name: string): Key => ({ pk: 'KFP#pipeline-names', sk: nameKey(name) }),
  version: (pipeline: PipelineId, id: VersionId): Key => ({
    pk: `KFP#versions#${pipeline}`,
    sk: id,
  }),
  versionName: (pipeline: PipelineId, name: string): Key => ({
    pk: `KFP#version-names#${pipeline}`,
    sk: nameKey(name),
  }),
  /** Old clients name a version without its pipeline. */
  versionHome: (id: VersionId): Key => ({ pk: 'KFP#version-homes', sk: id }),
};

/** Experiments, pipelines and versions, each under its id and once under its name. */
export function catalogStore({ one, pointed, all, change, commit }: Records) {
  const store = {
    // -------------------------------------------------------------- experiments

    /** Throws `exists`. */
    createExperiment: (call: Call, experiment: Experiment, event: Event) =>
      commit(
        call,
        [
          fresh(keys.experiment(experiment.id), experiment),
          pointer(keys.experimentName(experiment.name), experiment.id),
        ],
        event,
        [
          undefined,
          new Problem(
            'exists',
            `Already exist error: an experiment named '${experiment.name}' already exists.`,
          ),
        ],
      ),
    async getExperiment(call: Call, id: ExperimentId): Promise<Experiment | undefined> {
      return (await one<Experiment>(call, keys.experiment(id)))?.record;
    },
    async findExperiment(call: Call, name: string): Promise<Experiment | undefined> {
      const id = await pointed(call, keys.experimentName(name));
      return id === undefined ? undefined : store.getExperiment(call, id as ExperimentId);
    },
    listExperiments: (call: Call) => all<Experiment>(call, { pk: 'KFP#experiments' }),
    changeExperiment: (
      call: Call,
      id: ExperimentId,
      edit: (record: Experiment) => { record: Experiment; event: Event } | undefined,
    ) => change<Experiment>(call, keys.experiment(id), `Experiment ${id} not found.`, edit),
    removeExperiment: (call: Call, { id, name }: Experiment, event: Event) =>
      commit(
        call,
        [{ remove: keys.experiment(id), if: 'present' }, { remove: keys.experimentName(name) }],
        event,
        [new Problem('missing', `Experiment ${id} not found.`)],
      ),

    // -------------------------------------------------------------- pipelines and versions

    /** With its first version, if it comes with one. Throws `exists`. */
    createPipeline(call: Call, pipeline: Pipeline, event: Event, version?: Version) {
      const { id, name } = pipeline;
      const writes = [
        fresh(keys.pipeline(id), pipeline),
        pointer(keys.pipelineName(name), id),
        ...(version ? versionWrites(version) : []),
      ];
      const taken = `Already exist error: a pipeline named '${name}' already exists.`;
      return commit(call, writes, event, [undefined, new Problem('exists', taken)]);
    },
    async getPipeline(call: Call, id: PipelineId): Promise<Pipeline | undefined> {
      return (await one<Pipeline>(call, keys.pipeline(id)))?.record;
    },
    async findPipeline(call: Call, name: string): Promise<Pipeline | undefined> {
      const id = await pointed(call, keys.pipelineName(name));
      return id === undefined ? undefined : store.getPipeline(call, id as PipelineId);
    },
    listPipelines: (call: Call) => all<Pipeline>(call, { pk: 'KFP#pipelines' }),
    changePipeline: (
      call: Call,
      id: PipelineId,
      edit: (record: Pipeline) => { record: Pipeline; event: Event } | undefined,
    ) => change<Pipeline>(call, keys.pipeline(id), `Pipeline ${id} not found.`, edit),
    removePipeline: (call: Call, { id, name }: Pipeline, event: Event) =>
      commit(
        call,
        [{ remove: keys.pipeline(id), if: 'present' }, { remove: keys.pipelineName(name) }],
        event,
        [new Problem('missing', `Pipeline ${id} not found.`)],
      ),
    /** Throws `exists`, and `missing` for the pipeline. */
    createVersion(call: Call, version: Version, event: Event) {
      const { pipelineId, name } = version;
      return commit(
        call,
        [{ check: keys.pipeline(pipelineId), if: 'present' }, ...versionWrites(version)],
        event,
        [
          new Problem('missing', `Pipeline ${pipelineId} not found.`),
          undefined,
          new Problem(
            'exists',
            `Already exist error: the pipeline already has a version named '${name}'.`,
          ),
        ],
      );
    },
    async getVersion(
      call: Call,
      pipeline: PipelineId,
      id: VersionId,
    ): Promise<Version | undefined> {
      return (await one<Version>(call, keys.version(pipeline, id)))?.record;
    },
    async homeOf(call: Call, id: VersionId): Promise<PipelineId | undefined> {
      return (await pointed(call, keys.versionHome(id))) as PipelineId | undefined;
    },
    listVersions: (call: Call, pipeline: PipelineId) =>
      all<Version>(call, { pk: `KFP#versions#${pipeline}` }),
    changeVersion: (
      call: Call,
      { pipelineId, id }: Version,
      edit: (record: Version) => { record: Version; event: Event } | undefined,
    ) =>
      change<Version>(
        call,
        keys.version(pipelineId, id),
        `Pipeline version ${id} not found.`,
        edit,
      ),
    removeVersion: (call: Call, { pipelineId, id, name }: Version, event: Event) =>
      commit(
        call,
        [
          { remove: keys.version(pipelineId, id), if: 'present' },
          { remove: keys.versionName(pipelineId, name) },
          { remove: keys.versionHome(id) },
        ],
        event,
        [new Problem('missing', `Pipeline version ${id} not found.`)],
      ),
  };
  return store;
}

function versionWrites(version: Version): Write[] {
  const { pipelineId, id, name } = version;
  return [
    fresh(keys.version(pipelineId, id), version),
    pointer(keys.versionName(pipelineId, name), id),
    pointer(keys.versionHome(id), pipelineId),
  ];
}

import type { Listable } from './listing.ts';
import type { Experiment, Pipeline, Run, Version } from './model.ts';

/** What each kind may be filtered and sorted by; old and new names both work. Source: kfp.md section 1.4. */
export const EXPERIMENTS: Listable<Experiment> = {
  kind: 'kfp-experiments',
  id: ({ id }) => id,
  fields: {
    experiment_id: ({ id }) => id,
    id: ({ id }) => id,
    display_name: ({ name }) => name,
    name: ({ name }) => name,
    created_at: ({ createdAt }) => createdAt,
    last_run_created_at: ({ lastRunAt }) => lastRunAt,
    description: ({ description }) => description,
    namespace: () => '',
    storage_state: ({ storage }) => storage,
  },
};

export const PIPELINES: Listable<Pipeline> = {
  kind: 'kfp-pipelines',
  id: ({ id }) => id,
  fields: {
    pipeline_id: ({ id }) => id,
    id: ({ id }) => id,
    name: ({ name }) => name,
    display_name: ({ displayName }) => displayName,
    created_at: ({ createdAt }) => createdAt,
    description: ({ description }) => description,
    namespace: () => '',
  },
  tags: ({ tags }) => tags,
};

export const VERSIONS: Listable<Version> = {
  kind: 'kfp-versions',
  id: ({ id }) => id,
  fields: {
    pipeline_version_id: ({ id }) => id,
    id: ({ id }) => id,
    name: ({ name }) => name,
    display_name: ({ displayName }) => displayName,
    created_at: ({ createdAt }) => createdAt,
    description: ({ description }) => description,
  },
  tags: ({ tags }) => tags,
};

export const RUNS: Listable<Run> = {
  kind: 'kfp-runs',
  id: ({ id }) => id,
  fields: {
    run_id: ({ id }) => id,
    id: ({ id }) => id,
    display_name: ({ name }) => name,
    name: ({ name }) => name,
    created_at: ({ createdAt }) => createdAt,
    scheduled_at: ({ createdAt }) => createdAt,
    finished_at: ({ finishedAt }) => finishedAt,
    description: ({ description }) => description,
    storage_state: ({ storage }) => storage,
    namespace: () => '',
    experiment_id: ({ experimentId }) => experimentId,
    state: ({ state }) => state,
    status: ({ state }) => state,
  },
};

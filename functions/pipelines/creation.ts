import { readStackMachine } from '../../statemachines/resources.ts';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import { newUuid } from '../kernel/world.ts';
import type { Catalog } from './catalog.ts';
import type { Compiled } from './compiler/compile.ts';
import type { PipelineDocument } from './document.ts';
import type { ExperimentId, PipelineId, Run, RunId, VersionId } from './model.ts';
import { runParameters } from './parameters.ts';
import type { RunParts } from './parts.ts';
import { runEvent } from './transitions.ts';

export interface NewRun {
  /** Made up if absent; given by who must be able to repeat the call: the same id is the same run. */
  readonly id?: RunId;
  readonly name: string;
  readonly description?: string;
  readonly experimentId?: ExperimentId;
  readonly source: PipelineDocument | { pipelineId?: PipelineId; versionId?: VersionId };
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly root?: string;
  readonly serviceAccount?: string;
  /** The caller's own machine starts the execution, by `startOf`; otherwise it is started here. */
  readonly startedElsewhere?: boolean;
}

/** How a run comes to be: all is checked that can be, then one commit. */
export function runCreation({ platform, store, specs, runsImage }: RunParts, catalog: Catalog) {
  const { world, blobs } = platform;

  return {
    /**
     * The run, PENDING, and whether it is new. Throws `invalid` naming the parameter, or the task and its image;
     * `missing`; `precondition`.
     */
    async create(call: Call, wanted: NewRun): Promise<{ run: Run; made: boolean }> {
      const before = wanted.id && (await store.getRun(call, wanted.id));
      if (before) return { run: before, made: false };
      const run = await drafted(call, wanted);
      try {
        await store.createRun(call, run, runEvent('pipelines.run.created', run, run));
      } catch (error) {
        const winner = wanted.id && (await store.getRun(call, wanted.id));
        if (winner) return { run: winner, made: false };
        throw error;
      }
      return { run, made: true };
    },
  };

  /** The record; what it refers to is kept once nothing can be refused any more. */
  async function drafted(call: Call, wanted: NewRun): Promise<Run> {
    // A retry key belongs to the commit of the run, and to no other on the way there.
    const { retry: _, ...aside } = call;
    const { compiled, version, machine, keep } = await sourceOf(aside, wanted.source);
    const { plan } = compiled;
    const values = runParameters(plan.name, plan.parameters, wanted.parameters);
    const warnings = [
      ...plan.warnings,
      ...imageWarnings(compiled),
      ...(wanted.serviceAccount ? ['service_account has no effect here.'] : []),
    ];
    if (wanted.root !== undefined && !blobs.pathOf(call, wanted.root)?.startsWith('pipelines/'))
      throw new Problem(
        'invalid',
        `Invalid input error: pipeline_root must lie below ${blobs.locate(call, 'pipelines')}, where this workspace keeps what pipelines make, or be left out.`,
        { field: 'runtime_config.pipeline_root' },
      );
    const experiment = await catalog.usedExperiment(aside, wanted.experimentId);
    if (experiment.storage === 'ARCHIVED')
      throw new Problem('precondition', `Experiment '${experiment.name}' is archived.`);
    const id = wanted.id ?? (newUuid(world) as RunId);
    const at = world.now();
    return {
      id,
      experimentId: experiment.id,
      name: wanted.name,
      description: wanted.description ?? '',
      storage: 'AVAILABLE',
      pipeline: plan.name,
      ...(version ? { version } : {}),
      spec: await keep(),
      machine,
      parameters: await store.keep(call, `kfp/values/${id}`, values),
      ...(wanted.root === undefined ? {} : { root: wanted.root.replace(/\/+$/, '') }),
      ...(wanted.serviceAccount ? { serviceAccount: wanted.serviceAccount } : {}),
      createdBy: call.caller.name,
      createdAt: at,
      state: 'PENDING',
      history: [{ at, state: 'PENDING' }],
      attempt: 0,
      startedElsewhere: wanted.startedElsewhere ?? false,
      warnings,
    };
  }

  async function sourceOf(call: Call, source: NewRun['source']) {
    if ('pipeline' in source) {
      const compiled = specs.compile(source);
      const keep = () => specs.keep(call, source, compiled);
      return { compiled, version: undefined, machine: compiled.machine, keep };
    }
    const { pipelineId, versionId } = source;
    const version = versionId
      ? pipelineId
        ? await catalog.getVersion(call, pipelineId, versionId)
        : await catalog.versionById(call, versionId)
      : pipelineId && (await catalog.newestVersion(call, pipelineId));
    if (!version)
      throw new Problem(
        'invalid',
        'Invalid input error: pipeline_spec or pipeline_version_reference is required.',
        { field: 'pipeline_version_reference' },
      );
    const { pipelineId: home, id, spec, machine } = version;
    const compiled = await specs.compiled(call, spec);
    return {
      compiled,
      machine: readStackMachine(machine) ? machine : compiled.machine,
      version: { pipelineId: home, versionId: id },
      keep: async () => spec,
    };
  }

  /** What is said of several tasks is said once. Throws `invalid`, naming the task and its image. */
  function imageWarnings({ plan }: Compiled): string[] {
    const about = new Map<string, string[]>();
    for (const { id, container } of plan.tasks) {
      const { image, command, args } = container;
      const verdict = runsImage(image === '' ? undefined : image, [...command, ...args]);
      if ('refused' in verdict)
        throw new Problem('invalid', `Invalid input error: task '${id}': ${verdict.refused}.`, {
          field: 'pipeline_spec',
        });
      const { warning } = verdict;
      if (warning) about.set(warning, [...(about.get(warning) ?? []), `'${id}'`]);
    }
    return [...about].map(
      ([warning, ids]) => `${ids.length > 1 ? 'tasks' : 'task'} ${ids.join(', ')}: ${warning}`,
    );
  }
}

import { setTimeout as pause } from 'node:timers/promises';
import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import type { Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { bool } from '../kernel/proto.ts';
import type { Route } from '../kernel/route.ts';
import { kfpMessage, kfpRoute } from '../protocols/kfp.ts';
import { split } from './compiler/read.ts';
import type { NewRun } from './creation.ts';
import { ListOn, listOut, listQuery, RunIn, runOut, type TaskValues } from './kfp-wire.ts';
import { RUNS } from './listables.ts';
import { listed } from './listing.ts';
import { ExperimentRef, type Kept, type Run, type RunId, RunRef } from './model.ts';
import type { PipelinesService } from './service.ts';

const BASE = '/apis/v2beta1/runs';
const small = { bodyBytes: 64 * 1024, timeoutSeconds: 30 };
const none = { bodyBytes: 0, timeoutSeconds: 30 };
const spec = { bodyBytes: 16 * 2 ** 20, timeoutSeconds: 60 };
/** As long as a gateway lets an answer stream. */
const stream = { bodyBytes: 0, timeoutSeconds: 900 };
const output = z.record(z.string(), z.unknown());
const done = () => ({});
const MAX_NODE = 100;
/** Of large values in one answer. */
const SHOWN_BYTES = 2 ** 20;
const FOLLOW_MS = 500;

/** Runs. Source: kfp.md section 1.2; backend/api/v2beta1/run.proto. */
export function runRoutes(pipelines: PipelinesService, pages: Pages): Route[] {
  const one = `${BASE}/{run_id}`;
  // Older clients say which experiment they believe a run to be in.
  const input = kfpMessage({ run_id: RunRef, experiment_id: z.string().optional() });
  const resource = ({ run_id }: { run_id: string }) => `pipelines/runs/${run_id}`;
  const verb = (name: string, act: (call: Call, id: RunId) => Promise<void>) =>
    kfpRoute('POST', `${one}:${name}`, 'pipelines:write', {
      input,
      output: z.object({}),
      resource,
      limits: small,
      retry: 'natural',
      run: (call, { run_id }) => act(call, run_id).then(done),
    });

  return [
    kfpRoute('POST', BASE, 'pipelines:write', {
      input: RunIn,
      output,
      resource: () => 'pipelines/runs',
      limits: spec,
      retry: 'header',
      run: (call, asked) => pipelines.createRun(call, newRun(asked)),
      encode: (run, asked) =>
        runOut(run, {
          parameters: asked.runtime_config.parameters as never,
          ...(asked.pipeline_spec ? { document: documentOf(asked.pipeline_spec) } : {}),
        }),
    }),
    kfpRoute('GET', BASE, 'pipelines:read', {
      input: kfpMessage({
        ...ListOn,
        experiment_id: z.preprocess(emptyAsAbsent, ExperimentRef.optional()),
      }),
      output,
      resource: () => 'pipelines/runs',
      limits: none,
      run: async (call, { experiment_id, ...asked }) => {
        const all = (await pipelines.listRuns(call)).filter(
          (run) => experiment_id === undefined || run.experimentId === experiment_id,
        );
        const page = listed(call, pages, RUNS, experiment_id ?? '', listQuery(asked), all);
        const shown = await Promise.all(
          page.items.map(async (run) =>
            runOut(run, { parameters: await pipelines.values(call, run.parameters) }),
          ),
        );
        return listOut('runs', { ...page, items: shown }, (run) => run);
      },
    }),
    kfpRoute('GET', one, 'pipelines:read', {
      input,
      output,
      resource,
      limits: none,
      run: async (call, { run_id }) => {
        const run = await pipelines.getRun(call, run_id);
        return runOut(run, await partsOf(call, run));
      },
    }),
    kfpRoute('DELETE', one, 'pipelines:write', {
      input,
      output: z.object({}),
      resource,
      limits: none,
      retry: 'natural',
      run: (call, { run_id }) => pipelines.deleteRun(call, run_id).then(done),
    }),
    verb('archive', (call, id) => pipelines.storeRun(call, id, 'ARCHIVED')),
    verb('unarchive', (call, id) => pipelines.storeRun(call, id, 'AVAILABLE')),
    verb('terminate', pipelines.terminateRun),
    verb('retry', pipelines.retryRun),
    kfpRoute('GET', '/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log', 'pipelines:read', {
      input: kfpMessage({
        run_id: RunRef,
        node_id: z.string().max(MAX_NODE),
        follow: bool().default(false),
      }),
      output: z.string(),
      resource,
      limits: stream,
      streams: true,
      run: async (call, { run_id, node_id, follow }) => {
        const first = await pipelines.logOf(call, run_id, node_id);
        const body = new ReadableStream<Uint8Array>(
          logSource((after) => pipelines.logOf(call, run_id, node_id, after), first, follow),
        );
        return new Response(body, { headers: { 'Content-Type': 'text/plain; charset=utf-8' } });
      },
    }),
  ];

  async function partsOf(call: Call, run: Run) {
    const [tasks, parameters] = await Promise.all([
      pipelines.listTasks(call, run.id),
      pipelines.values(call, run.parameters),
    ]);
    const valuesOf = new Map<string, TaskValues>();
    let left = SHOWN_BYTES;
    /** Large values are left out once the answer is full; they are whole in the steps themselves. */
    const shown = async (kept: Kept) => {
      if ('sizeBytes' in kept) left -= kept.sizeBytes;
      return 'values' in kept || left > 0 ? pipelines.values(call, kept) : {};
    };
    for (const { id, inputs, outputs } of tasks)
      valuesOf.set(id, {
        inputs: await shown(inputs.parameters),
        outputs: await shown(outputs.parameters),
      });
    return {
      parameters,
      tasks,
      valuesOf,
      ...(run.version ? {} : { document: await pipelines.document(call, run.spec) }),
      ...(run.outputs ? { outputs: await pipelines.values(call, run.outputs) } : {}),
    };
  }
}

const emptyAsAbsent = (value: unknown) => (value === '' ? undefined : value);

function documentOf(given: Record<string, unknown>) {
  const { pipeline, platforms } = split(given);
  return platforms === undefined ? { pipeline } : { pipeline, platform: platforms };
}

function newRun(asked: z.output<typeof RunIn>): NewRun {
  const reference = asked.pipeline_version_reference;
  const versionId = reference?.pipeline_version_id ?? asked.pipeline_version_id;
  const pipelineId = reference?.pipeline_id;
  if (asked.pipeline_spec && (versionId || pipelineId))
    throw new Problem(
      'invalid',
      'Invalid input error: give pipeline_spec or pipeline_version_reference, not both.',
      { field: 'pipeline_spec' },
    );
  const { pipeline_root: root, parameters } = asked.runtime_config;
  return {
    name: asked.display_name,
    description: asked.description,
    ...(asked.experiment_id ? { experimentId: asked.experiment_id } : {}),
    source: asked.pipeline_spec
      ? documentOf(asked.pipeline_spec)
      : {
          ...(pipelineId ? { pipelineId } : {}),
          ...(versionId ? { versionId } : {}),
        },
    parameters,
    ...(root ? { root } : {}),
    ...(asked.service_account ? { serviceAccount: asked.service_account } : {}),
  };
}

type LogPage = Awaited<ReturnType<PipelinesService['logOf']>>;

/** Line by line as it is read; with `follow` on to the end of the step. */
function logSource(
  read: (after: string) => Promise<LogPage>,
  first: LogPage,
  follow: boolean,
): UnderlyingDefaultSource<Uint8Array> {
  let page: LogPage | undefined = first;
  let after = first.next;
  return {
    async pull(controller) {
      for (;;) {
        const now: LogPage = page ?? (await read(after));
        page = undefined;
        const moved = now.lines.length > 0;
        after = now.next;
        if (moved) controller.enqueue(Buffer.from(`${now.lines.join('\n')}\n`));
        if (!moved && (now.ended || !follow)) return controller.close();
        if (moved) return;
        await pause(FOLLOW_MS);
      }
    },
  };
}

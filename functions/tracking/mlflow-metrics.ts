import * as z from 'zod';
import { Problem } from '../kernel/problem.ts';
import { int32, repeated } from '../kernel/proto.ts';
import type { Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoutes } from '../protocols/mlflow.ts';
import { sampled } from './history.ts';
import { type Metric, RunId } from './model.ts';
import type { TrackingService } from './service.ts';
import { MetricOnWire, metricOnWire, pageSize, RunRef, runOf, runResource, text } from './wire.ts';

const BASE = '/mlflow/metrics';
const limits = { bodyBytes: 65_536, timeoutSeconds: 25 };
const MAX_RUNS = 100;
/** Source: mlflow/server/handlers.py, MAX_RESULTS_GET_METRIC_HISTORY and MAX_RESULTS_PER_RUN. */
const MAX_BULK = 25_000;
const MAX_PER_RUN = 2500;

const runIds = (field: string) =>
  repeated(RunId).refine((ids) => ids.length >= 1 && ids.length <= MAX_RUNS, {
    message: `GetMetricHistoryBulk request must specify 1 to ${MAX_RUNS} ${field} values.`,
    params: { whole: true },
  });
const Output = z.object({
  metrics: z.array(MetricOnWire).optional(),
  next_page_token: z.string().optional(),
});
const rowsOf = (runId: RunId, points: readonly Metric[]) =>
  points.map((point) => ({ ...metricOnWire(point), run_id: runId }));
const answer = <T>(metrics: readonly T[]) => (metrics.length ? { metrics } : {});

/** The histories of metrics: one run's, or many runs' for the charts of the web UI. Source: mlflow.md section 2.5. */
export function metricRoutes(tracking: TrackingService): Route[] {
  return [
    ...mlflowRoutes('GET', `${BASE}/get-history`, 'tracking:read', {
      input: mlflowMessage({
        ...RunRef,
        metric_key: text,
        page_token: text.optional(),
        max_results: int32().optional(),
      }),
      output: Output,
      resource: runResource,
      limits,
      async run(call, { metric_key, page_token, max_results, ...ref }) {
        const size = max_results === undefined ? undefined : pageSize(max_results);
        const { items, next } = await tracking.metricHistory(
          call,
          runOf(ref),
          metric_key,
          size,
          page_token || undefined,
        );
        const page = next === undefined ? {} : { next_page_token: next };
        return { ...answer(items.map(metricOnWire)), ...page };
      },
    }),
    ...mlflowRoutes('GET', `${BASE}/get-history-bulk`, 'tracking:read', {
      input: mlflowMessage({
        run_id: runIds('run_id'),
        metric_key: text,
        max_results: int32().optional(),
      }),
      output: Output,
      resource: () => 'runs',
      limits,
      async run(call, { run_id, metric_key, max_results = MAX_BULK }) {
        const most = Math.min(pageSize(max_results, Number.MAX_SAFE_INTEGER), MAX_BULK);
        const rows: ReturnType<typeof rowsOf> = [];
        for (const runId of [...new Set(run_id)].sort()) {
          if (rows.length >= most) break;
          const points = await tracking.wholeHistory(call, runId, metric_key);
          rows.push(...rowsOf(runId, points.slice(0, most - rows.length)));
        }
        return answer(rows);
      },
    }),
    ...mlflowRoutes('GET', `${BASE}/get-history-bulk-interval`, 'tracking:read', {
      input: mlflowMessage({
        run_ids: runIds('run_ids'),
        metric_key: text,
        start_step: int32().optional(),
        end_step: int32().optional(),
        max_results: int32().default(MAX_PER_RUN),
      }),
      output: Output,
      resource: () => 'runs',
      limits,
      async run(call, { run_ids, metric_key, start_step, end_step, max_results }) {
        const most = pageSize(max_results, MAX_PER_RUN);
        checkSteps(start_step, end_step);
        const within = ({ step }: Metric) =>
          start_step === undefined ||
          end_step === undefined ||
          (step >= start_step && step <= end_step);
        const rows: ReturnType<typeof rowsOf> = [];
        // One after the other: a hundred long histories at once would not fit.
        for (const runId of new Set(run_ids)) {
          const points = (await tracking.wholeHistory(call, runId, metric_key)).filter(within);
          rows.push(...rowsOf(runId, sampled(points.sort(byStep), most)));
        }
        return answer(rows);
      },
    }),
  ];
}

function byStep(a: Metric, b: Metric): number {
  if (a.step !== b.step) return a.step < b.step ? -1 : 1;
  if (a.timestamp === b.timestamp) return 0;
  return a.timestamp < b.timestamp ? -1 : 1;
}

function checkSteps(start: number | undefined, end: number | undefined) {
  if ((start === undefined) !== (end === undefined))
    throw new Problem(
      'invalid',
      'If either start step or end step are specified, both must be specified.',
      { field: start === undefined ? 'start_step' : 'end_step' },
    );
  if (start !== undefined && end !== undefined && start > end)
    throw new Problem(
      'invalid',
      `end_step must be greater than start_step. Found start_step=${start} and end_step=${end}.`,
      { field: 'end_step' },
    );
}

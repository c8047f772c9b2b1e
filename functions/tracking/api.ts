import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { apiRoute } from '../protocols/api.ts';
import { MetricRule, MetricRuleRef } from './model.ts';
import type { TrackingService } from './service.ts';

const RULES = '/api/experiments/{experimentId}/metric-rules';
const read = { bodyBytes: 0, timeoutSeconds: 10 };
const write = { bodyBytes: 16_384, timeoutSeconds: 10 };
const resource = ({ experimentId, id }: MetricRuleRef) =>
  `experiments/${experimentId}/metric-rules/${id}`;

/** Metric rules: what a run's latest value must come to for `tracking.metric-rule.held` to be told. */
export function metricRuleRoutes(tracking: TrackingService): Route[] {
  return [
    apiRoute('GET', RULES, 'tracking:read', {
      input: z.strictObject({
        experimentId: MetricRule.shape.experimentId,
        limit: z.coerce.number().int().min(1).max(100).default(50),
        pageToken: z.string().max(4096).optional(),
      }),
      output: z.object({ metricRules: z.array(MetricRule), nextPageToken: z.string().optional() }),
      resource: ({ experimentId }) => `experiments/${experimentId}`,
      limits: read,
      summary: 'List the metric rules of an experiment',
      run: async (call, { experimentId, limit, pageToken }) => {
        const { items, next } = await tracking.listMetricRules(
          call,
          experimentId,
          limit,
          pageToken,
        );
        return { metricRules: items, ...(next ? { nextPageToken: next } : {}) };
      },
    }),
    apiRoute('PUT', `${RULES}/{id}`, 'tracking:write', {
      input: MetricRule,
      output: MetricRule,
      resource,
      limits: write,
      retry: 'natural', // setting what stands already changes nothing
      summary: 'Make or replace a metric rule',
      run: (call, rule) => tracking.setMetricRule(call, rule),
    }),
    apiRoute('GET', `${RULES}/{id}`, 'tracking:read', {
      input: MetricRuleRef,
      output: MetricRule,
      resource,
      limits: read,
      summary: 'One metric rule',
      run: (call, ref) => tracking.getMetricRule(call, ref),
    }),
    apiRoute('DELETE', `${RULES}/{id}`, 'tracking:write', {
      input: MetricRuleRef,
      output: z.undefined(),
      resource,
      limits: write,
      retry: 'natural', // a second delete is `missing`
      summary: 'Delete a metric rule',
      run: (call, ref) => tracking.removeMetricRule(call, ref),
    }),
  ];
}

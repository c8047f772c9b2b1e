import type { Definitions } from 'stillflow/constructs';

/**
 * The demand forecast of examples/demand: files that arrive below `drops/` start a retraining, a better model moves the
 * alias, and the endpoint follows it. Plain data: app.ts deploys it, `stillflow start --app` runs it on this machine.
 */
const definitions = {
  pipelines: {
    'demand-forecast': {
      // Written from examples/demand/pipeline.py by kfp's compiler.
      file: 'demand-forecast.yaml',
      description: 'Departures of tomorrow for each busy route out of New York',
    },
  },
  endpoints: {
    demand: { model: 'models:/demand@champion', scale: { minimum: 0, maximum: 4, concurrency: 8 } },
  },
  rules: {
    'demand-drops': {
      on: { prefix: 'drops/' },
      pipeline: 'demand-forecast',
      parameters: { path: '$.data.path', model_name: 'demand' },
      gate: {
        model: 'demand',
        metric: 'wape',
        direction: 'lower',
        minimumImprovement: 0.01,
        version: 'register.Output',
        after: 'evaluate.wape',
        before: 'evaluate.champion_wape',
      },
    },
  },
} satisfies Definitions;
export default definitions;

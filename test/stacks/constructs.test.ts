import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App, Stack, Stage } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import definitions from '../../examples/cdk-app/definitions.ts';
import {
  AutoscalingEndpoint,
  Pipeline,
  RetrainOn,
  Step,
  Stillflow,
  TrainingStep,
} from '../../lib/constructs/index.ts';
import { MOST_METRICS } from '../../lib/dashboard.ts';
import { needLayer } from './templates.ts';

const place = mkdtempSync(join(tmpdir(), 'stillflow-constructs-'));
afterAll(() => rmSync(place, { recursive: true, force: true }));
beforeAll(needLayer);
const made = { apps: 0 };
function newApp(): App {
  made.apps += 1;
  return new App({ outdir: join(place, String(made.apps)) });
}
const ROOMS = ['artifacts', 'tracking', 'registry', 'pipelines', 'serving', 'triggers', 'loops'];

const parts = (rooms: readonly string[], app = newApp()) => {
  const stillflow = new Stillflow(app, 'Stillflow', { rooms });
  const templates = Object.values(stillflow.stacks).map((stack) => Template.fromStack(stack));
  return { app, stillflow, templates };
};
const functionsOf = (template: Template) =>
  Object.keys(template.findResources('AWS::Lambda::Function'));

describe.each(ROOMS)('the room %s alone', (room) => {
  test('synthesises with what it stands on, and no other room of people', () => {
    const { stillflow, templates } = parts([room]);
    expect(stillflow.rooms).toContain(room);
    const [, , api] = templates;
    const deployed = new Set(
      functionsOf(api!)
        .map((id) => /^([a-z]+)http/.exec(id)?.[1])
        .filter(Boolean),
    );
    expect(deployed).toContain(room);
    for (const other of ROOMS)
      expect(deployed.has(other), other).toBe(stillflow.rooms.includes(other));
  });
});

test('tracking and registry alone bring neither steps nor machines', () => {
  const { stillflow, templates } = parts(['tracking', 'registry']);
  expect([...stillflow.rooms].sort()).toEqual(
    ['artifacts', 'governance', 'registry', 'site', 'tracking', 'workspaces'].sort(),
  );
  for (const template of templates) {
    template.resourceCountIs('AWS::StepFunctions::StateMachine', 0);
    template.resourceCountIs('AWS::Lambda::LayerVersion', 0);
  }
});

test('a room that is none, or needs one that is not deployed, is refused by name', () => {
  expect(() => new Stillflow(newApp(), 'S', { rooms: ['trackin'] })).toThrow(
    "'trackin' is no room",
  );
  expect(() => new Stillflow(newApp(), 'S', { rooms: [] })).toThrow('name at least one');
  expect(() => new Stillflow(newApp(), 'S', { servingImage: 'nginx' })).toThrow('servingImage');
  const { app, stillflow } = parts(['tracking']);
  const own = new Stack(app, 'own');
  const props = { stillflow, name: 'p', file: 'test/golden/diamond.yaml' };
  expect(() => new Pipeline(own, 'P', props)).toThrow("'pipelines' is not deployed");
});

test('it stands below a stage or a stack, and leaves the tags of the rest of the app alone', () => {
  const app = newApp();
  const stage = new Stage(app, 'prod', { env: { account: '123456789012', region: 'eu-west-1' } });
  const within = new Stillflow(stage, 'Stillflow', { rooms: ['tracking'] });
  expect(within.stacks.api.stackName).toBe('stillflow-api');
  expect(within.stacks.api.region).toBe('eu-west-1');
  const other = new Stack(app, 'other', { env: { account: '123456789012', region: 'us-east-1' } });
  const below = new Stillflow(other, 'Stillflow', { rooms: ['tracking'] });
  expect(below.stacks.data.region).toBe('us-east-1');
  const { stacks } = app.synth();
  expect(stacks.find(({ stackName }) => stackName === 'other')?.tags).toEqual({});
  expect(stacks.find(({ stackName }) => stackName === 'stillflow-data')?.tags).toHaveProperty(
    'stillflow',
  );
  Annotations.fromStack(other).hasNoWarning('*', Match.stringLikeRegexp('AwsSolutions'));
});

describe('what an app declares', () => {
  const { app, stillflow } = (() => {
    const app = newApp();
    needLayer();
    return { app, stillflow: new Stillflow(app, 'Stillflow') };
  })();
  const own = new Stack(app, 'demand');
  const pipeline = new Pipeline(own, 'Forecast', {
    stillflow,
    name: 'demand-forecast',
    folder: 'examples/cdk-app',
    ...definitions.pipelines['demand-forecast'],
  });
  new RetrainOn(own, 'Drops', {
    stillflow,
    name: 'demand-drops',
    ...definitions.rules['demand-drops'],
    pipeline,
  });
  new AutoscalingEndpoint(own, 'Endpoint', {
    stillflow,
    name: 'demand',
    ...definitions.endpoints.demand,
  });
  const caller = new Role(own, 'Caller', { assumedBy: new ServicePrincipal('ec2.amazonaws.com') });
  stillflow.grantRead(caller);
  pipeline.grantRead(caller);
  const more = new Stack(app, 'more');
  new Pipeline(more, 'P', {
    stillflow,
    name: 'steps',
    parameters: { day: 'STRING' },
    steps: {
      load: new Step({
        command: ['sh', '-c', 'echo 3 > "$0"', "{{$.outputs.parameters['rows'].output_file}}"],
        outputs: { rows: 'NUMBER_INTEGER' },
        inputs: { day: { parameter: 'day' } },
      }),
      train: new TrainingStep({
        command: ['true'],
        inputs: { rows: { step: 'load', output: 'rows' } },
      }),
    },
  });
  const template = Template.fromStack(own);

  test('a machine of a fixed name, and a published version that stays', () => {
    template.hasResourceProperties('AWS::StepFunctions::StateMachine', {
      StateMachineName: 'stillflow-demand-forecast',
    });
    template.hasResource('AWS::StepFunctions::StateMachineVersion', {
      UpdateReplacePolicy: 'Retain',
    });
  });

  test('is recorded by a function of each room, the rule after its pipeline', () => {
    template.resourceCountIs('Custom::StillflowPipeline', 1);
    template.resourceCountIs('Custom::StillflowEndpoint', 1);
    template.hasResource('Custom::StillflowRule', {
      DependsOn: Match.arrayWith([Match.stringLikeRegexp('^ForecastDeclared')]),
    });
    const workflows = Template.fromStack(stillflow.stacks.workflows);
    for (const room of ['pipelines', 'serving', 'triggers'])
      workflows.hasResourceProperties('AWS::Lambda::Function', {
        FunctionName: `stillflow-declare-${room}`,
        Handler: 'index.declare',
      });
  });

  test('a reader may ask and search, and change nothing', () => {
    const text = JSON.stringify(template.findResources('AWS::IAM::Policy'));
    expect(text).toContain('/$default/GET/*');
    expect(text).toContain('/$default/POST/api/2.0/mlflow/runs/search');
    expect(text).not.toContain('/runs/create');
    expect(text).not.toContain('/$default/*');
  });

  test('a dashboard is there, with few enough metrics to cost nothing', () => {
    const events = Template.fromStack(stillflow.stacks.events);
    const [dashboard] = Object.values(events.findResources('AWS::CloudWatch::Dashboard'));
    const body = JSON.stringify(dashboard?.['Properties'].DashboardBody);
    const metrics = body.match(/\\"AWS\/(ApiGateway|States|Lambda)\\"/g) ?? [];
    expect(metrics.length).toBeGreaterThan(5);
    expect(metrics.length).toBeLessThanOrEqual(MOST_METRICS);
  });

  test('names and definitions are refused at synth, each by its own words', () => {
    const bad = new Stack(new App(), 'bad');
    const file = 'test/golden/diamond.yaml';
    expect(() => new Pipeline(bad, 'A', { stillflow, name: 'Upper', file })).toThrow("'Upper'");
    expect(() => new Pipeline(bad, 'B', { stillflow, name: 'retraining', file })).toThrow('itself');
    expect(() => new Pipeline(bad, 'C', { stillflow, name: 'none' })).toThrow('file or steps');
    const steps = { one: new Step({ command: ['true'], inputs: { a: { parameter: 'b' } } }) };
    expect(() => new Pipeline(bad, 'D', { stillflow, name: 'd', steps })).toThrow(
      "the pipeline has no parameter 'b'",
    );
    expect(() => new RetrainOn(bad, 'E', { stillflow, name: 'e', pipeline, on: {} })).toThrow(
      'exactly one',
    );
    expect(
      () => new AutoscalingEndpoint(bad, 'F', { stillflow, name: 'f', model: 's3://x' }),
    ).toThrow('models:/');
  });

  test('steps in TypeScript become a machine, a training step a job of SageMaker', () => {
    const [machine] = Object.values(
      Template.fromStack(more).findResources('AWS::StepFunctions::StateMachine'),
    );
    const { States } = JSON.parse(machine?.['Properties'].DefinitionString);
    expect(States['load.run'].Arguments.FunctionName).toBe('stillflow-run-step');
    expect(States['train.run'].Resource).toContain('createTrainingJob.sync');
  });
});

test('a change of one handler changes one line of the templates, its asset', async () => {
  const { OurFunction, seconds } = await import('../../lib/function.ts');
  const { bundle } = await import('../../lib/bundle.ts');
  const { stage } = await import('../../lib/stage.ts');
  const { folder } = bundle('functions/handlers/ended.ts');
  const text = readFileSync(join(folder, 'index.mjs'));
  const changed = stage([
    { name: 'index.mjs', contents: Buffer.concat([text, Buffer.from('\n// one line\n')]) },
  ]);
  const lines = (code: string) => {
    const app = newApp();
    const stack = new Stack(app, 'one');
    new OurFunction(stack, 'ended', {
      ...{ entry: 'functions/handlers/ended.ts', folder: code, exported: 'handler' },
      ...{ environment: { A: '1' }, grants: [], timeout: seconds(30) },
    });
    return JSON.stringify(Template.fromStack(stack).toJSON(), null, 1).split('\n');
  };
  const [before, after] = [lines(folder), lines(changed)];
  expect(after).toHaveLength(before.length);
  const differ = before.filter((line, at) => line !== after[at]);
  expect(differ).toHaveLength(1);
  expect(differ[0]).toMatch(/"S3Key": "[0-9a-f]{64}\.zip"/);
});

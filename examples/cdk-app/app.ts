import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import { AutoscalingEndpoint, Pipeline, RetrainOn, Stillflow } from 'stillflow/constructs';
import definitions from './definitions.ts';

const app = new App();
const stillflow = new Stillflow(app, 'Stillflow', {
  artifacts: 'proxy',
  ...(process.env['SERVING_IMAGE'] ? { servingImage: process.env['SERVING_IMAGE'] } : {}),
});

const demand = new Stack(app, 'demand');
const { pipelines, endpoints, rules } = definitions;

const pipeline = new Pipeline(demand, 'Forecast', {
  stillflow,
  name: 'demand-forecast',
  folder: import.meta.dirname,
  ...pipelines['demand-forecast'],
});
new RetrainOn(demand, 'Drops', {
  stillflow,
  name: 'demand-drops',
  ...rules['demand-drops'],
  pipeline,
});
const endpoint = new AutoscalingEndpoint(demand, 'Endpoint', {
  stillflow,
  name: 'demand',
  ...endpoints.demand,
});

new CfnOutput(demand, 'DropFilesAt', { value: stillflow.dataUrl('drops/') });
new CfnOutput(demand, 'Invocations', { value: endpoint.invocationsUrl });
app.synth();

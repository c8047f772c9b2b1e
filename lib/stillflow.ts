import { type App, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { acknowledge } from './acknowledged.ts';
import { Stillflow, type StillflowProps } from './constructs/stillflow.ts';

/**
 * The product on its own, as `cdk deploy` of this repository makes it; settings are context:
 *
 *     -c rooms=tracking,registry      only these, and what they stand on
 *     -c artifacts=proxy              bytes come through the API
 *     -c servingImage=..              an image in ECR
 *     -c streamConcurrency=20         a new account may have too few for any to be set aside, so none is without it
 *     -c eksJobs=NAME                 a cluster of EKS that is there already, with
 *     -c eksSubnets=subnet-..,..      and -c eksSecurityGroups=sg-..,.. for its nodes
 *
 * Throws if cdk-nag finds what is not acknowledged.
 */
export function stillflow(app: App): Stillflow {
  const made = new Stillflow(
    app,
    'Stillflow',
    propsOf((name) => app.node.tryGetContext(name)),
  );
  acknowledge(app);
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return made;
}

function propsOf(context: (name: string) => unknown): StillflowProps {
  const [rooms, artifacts, image, count] = [
    'rooms',
    'artifacts',
    'servingImage',
    'streamConcurrency',
  ].map(context);
  return {
    ...(rooms === undefined ? {} : { rooms: String(rooms).split(',').filter(Boolean) }),
    ...(artifacts === undefined ? {} : { artifacts: artifacts as 'direct' | 'proxy' }),
    ...(image === undefined ? {} : { servingImage: String(image) }),
    ...(count === undefined ? {} : { streamConcurrency: Number(count) }),
    ...eksJobs(context),
  };
}

function eksJobs(context: (name: string) => unknown): Pick<StillflowProps, 'eksJobs'> {
  const cluster = context('eksJobs');
  if (cluster === undefined) return {};
  const listed = (name: string) =>
    String(context(name) ?? '')
      .split(',')
      .filter(Boolean);
  return {
    eksJobs: {
      cluster: String(cluster),
      subnets: listed('eksSubnets'),
      securityGroups: listed('eksSecurityGroups'),
    },
  };
}

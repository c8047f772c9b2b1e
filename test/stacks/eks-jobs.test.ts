import { App } from 'aws-cdk-lib';
import { describe, expect, test } from 'vitest';
import { stillflow } from '../../lib/stillflow.ts';
import { allows } from './iam.ts';
import { needLayer, resources, synthesize } from './templates.ts';

const CONTEXT = {
  eksJobs: 'shared',
  eksSubnets: 'subnet-0a1,subnet-0b2',
  eksSecurityGroups: 'sg-0c3',
};
const { templates } = synthesize(CONTEXT);
const only = { 'stillflow-eks-jobs': templates['stillflow-eks-jobs'] ?? { Resources: {} } };
const the = (type: string) => {
  const found = resources(only, type);
  expect(found).toHaveLength(1);
  return found[0]?.Properties ?? {};
};
const own = (service: string, name: string) => `arn:aws:${service}:eu-west-1:111122223333:${name}`;

test('makes no cluster, and asks of the one that is there what its name gives', () => {
  expect(resources(templates).filter(({ Type }) => /EKS::(Cluster|Nodegroup)/.test(Type))).toEqual(
    [],
  );
  const { EksConfiguration, ComputeResources } = the('AWS::Batch::ComputeEnvironment') as {
    EksConfiguration: object;
    ComputeResources: object;
  };
  expect(JSON.stringify(EksConfiguration)).toContain(':cluster/shared');
  expect(ComputeResources).toMatchObject({
    MinvCpus: 0,
    Subnets: ['subnet-0a1', 'subnet-0b2'],
    SecurityGroupIds: ['sg-0c3'],
  });
  expect(the('AWS::EKS::PodIdentityAssociation')).toMatchObject({
    ClusterName: 'shared',
    Namespace: 'stillflow',
    ServiceAccount: 'stillflow-job',
  });
});

test('queue and definition are those that jobs name', () => {
  expect(the('AWS::Batch::JobQueue')).toMatchObject({ JobQueueName: 'stillflow-jobs' });
  expect(the('AWS::Batch::JobDefinition')).toMatchObject({
    JobDefinitionName: 'stillflow-jobs',
    EksProperties: {
      PodProperties: { ServiceAccountName: 'stillflow-job', Containers: [{ Name: 'job' }] },
    },
  });
});

test('a pod may do with bytes what a SageMaker job may, and nothing else', () => {
  const bucket = 'arn:aws:s3:::bucket';
  const may = (action: string, resource: string) => allows(templates, 'PodRole', action, resource);
  expect(may('dynamodb:GetItem', own('dynamodb', 'table/any'))).toBe(false);
  expect(may('sagemaker:CreateTrainingJob', own('sagemaker', 'training-job/sf-default0-x'))).toBe(
    false,
  );
  expect(may('s3:DeleteObject', `${bucket}/default0/jobs/x`)).toBe(false);
});

test('machines may submit to this queue only, and only here', () => {
  const text = JSON.stringify(the('AWS::IAM::ManagedPolicy'));
  for (const object of ['job-queue/stillflow-jobs', 'job-definition/stillflow-jobs', 'job/*'])
    expect(text).toContain(`:${object}`);
  expect(text).toContain('StepFunctionsGetEventsForBatchJobsRule');
  expect(text).not.toContain('batch:*');
});

test('functions are told that there is a cluster', () => {
  const told = resources(templates, 'AWS::Lambda::Function').filter(({ Properties }) =>
    JSON.stringify(Properties).includes('"STILLFLOW_EKS_JOBS":"shared"'),
  );
  expect(told.length).toBeGreaterThan(5);
});

describe('without the context', () => {
  test('there is nothing of it', () => {
    const plain = synthesize();
    expect(Object.keys(plain.templates)).not.toContain('stillflow-eks-jobs');
    const text = JSON.stringify(plain.templates);
    for (const trace of ['AWS::Batch', 'AWS::EKS', 'batch:', 'STILLFLOW_EKS_JOBS', 'BatchJobsRule'])
      expect(text, trace).not.toContain(trace);
  });

  test.each([
    [{ eksJobs: 'shared' }, 'eksSubnets'],
    [{ ...CONTEXT, eksSubnets: 'net-1' }, 'eksSubnets'],
    [{ ...CONTEXT, eksSecurityGroups: '' }, 'eksSecurityGroups'],
    [{ ...CONTEXT, eksJobs: 'a/b' }, 'no name of a cluster'],
  ])('%j is refused, naming %s', (context, words) => {
    needLayer();
    expect(() => stillflow(new App({ context }))).toThrow(words);
  });
});

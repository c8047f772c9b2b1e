import { describe, expect, test } from 'vitest';
import { serviceModel } from '../oracles/model.ts';
import { AwsError, accessTo } from './stack/access.ts';
import { deployedAccount } from './stack/account.ts';
import { routesOf } from './stack/apis.ts';
import type { Templates } from './stack/assembly.ts';
import { touchedBy } from './stack/dynamo.ts';
import { fits, inputOf } from './stack/pattern.ts';
import { decide, readPolicy } from './stack/policy.ts';
import { s3Actions } from './stack/s3.ts';
import { credentialOf, sign, signedBy } from './stack/sigv4.ts';

const allow = (statement: object) =>
  readPolicy({ Statement: { Effect: 'Allow', ...statement } }, 'here');
const role = 'AWS:arn:aws:sts::1:assumed-role/r/s';

describe('policies', () => {
  const asked = { action: 's3:GetObject', resource: 'arn:aws:s3:::b/default0/x' };
  const cases = [
    {
      name: 'the action and resource',
      statement: { Action: 's3:GetObject', Resource: asked.resource },
      verdict: 'allowed',
    },
    {
      name: 'wildcards in both, the action in any case',
      statement: { Action: 'S3:get*', Resource: 'arn:aws:s3:::b/????????/*' },
      verdict: 'allowed',
    },
    {
      name: 'another action',
      statement: { Action: 's3:PutObject', Resource: '*' },
      verdict: 'allowed by none',
    },
    {
      name: 'a question mark for no character',
      statement: { Action: 's3:*', Resource: 'arn:aws:s3:::b/?????????/*' },
      verdict: 'allowed by none',
    },
    {
      name: 'a condition that nobody here can tell',
      statement: {
        Action: 's3:*',
        Resource: '*',
        Condition: { StringEquals: { 'aws:PrincipalTag/team': 'x' } },
      },
      verdict: 'allowed by none',
    },
    {
      name: 'an operator that nobody here knows',
      statement: {
        Action: 's3:*',
        Resource: '*',
        Condition: { DateLessThan: { 's3:prefix': 'x' } },
      },
      verdict: 'allowed by none',
    },
    {
      name: 'a condition of which the request says nothing',
      statement: {
        Action: 's3:*',
        Resource: '*',
        Condition: { StringEquals: { 's3:prefix': 'x' } },
      },
      verdict: 'allowed by none',
    },
  ];
  test.each(cases)('$name: $verdict', ({ statement, verdict }) => {
    expect(decide(allow(statement), [], role, asked)).toBe(verdict);
  });
  test('a Deny wins, also one whose condition nobody can tell', () => {
    const deny = readPolicy(
      {
        Statement: {
          Effect: 'Deny',
          Action: 's3:*',
          Resource: '*',
          Principal: '*',
          Condition: { Bool: { 'aws:Unknown': 'true' } },
        },
      },
      'here',
    );
    expect(decide(allow({ Action: '*', Resource: '*' }), deny, role, asked)).toBe(
      'denied by a policy',
    );
  });
  test('a policy of a resource speaks of those whom it names, under its conditions', () => {
    const queue = allow({
      Action: 'sqs:SendMessage',
      Resource: 'q',
      Principal: { Service: 'events.amazonaws.com' },
      Condition: { ArnEquals: { 'aws:SourceArn': 'rule/a' } },
    });
    const send = (source: string) => ({
      action: 'sqs:SendMessage',
      resource: 'q',
      context: { 'aws:sourcearn': source },
    });
    expect(decide([], queue, 'Service:events.amazonaws.com', send('rule/a'))).toBe('allowed');
    expect(decide([], queue, 'Service:events.amazonaws.com', send('rule/b'))).toBe(
      'allowed by none',
    );
    expect(decide([], queue, 'Service:sns.amazonaws.com', send('rule/a'))).toBe('allowed by none');
  });
  test('what is said by NotAction is refused, naming where', () => {
    expect(() => allow({ NotAction: 's3:*', Resource: '*' })).toThrow('here uses NotAction');
  });
});

describe('what a request asks IAM for', () => {
  test('every table and index of a transaction and a batch', () => {
    const TransactItems = [{ Put: { TableName: 'a' } }, { ConditionCheck: { TableName: 'b' } }];
    expect(
      touchedBy('TransactWriteItems', { TransactItems }).map(
        ({ action, table }) => `${action} ${table}`,
      ),
    ).toEqual(['dynamodb:PutItem a', 'dynamodb:ConditionCheckItem b']);
    expect(touchedBy('BatchGetItem', { RequestItems: { a: {}, c: {} } })).toHaveLength(2);
    expect(touchedBy('Query', { TableName: 'a', IndexName: 'i' })[0]?.index).toBe('i');
    expect(() => touchedBy('ExecuteStatement', {})).toThrow(
      'does not know dynamodb:ExecuteStatement',
    );
  });
  const of = (method: string, path: string, copied?: string) => {
    const url = new URL(path, 'http://s3');
    const [, bucket = '', ...key] = url.pathname.split('/');
    return s3Actions(method, { bucket, key: key.join('/'), query: url.searchParams }, copied).map(
      ({ action, resource }) => `${action} ${resource.slice(13)}`,
    );
  };
  test.each([
    ['GET', '/b/k', ['s3:GetObject b/k']],
    ['PUT', '/b/k?partNumber=1&uploadId=u', ['s3:PutObject b/k']],
    ['DELETE', '/b/k?uploadId=u', ['s3:AbortMultipartUpload b/k']],
    ['GET', '/b/k?uploadId=u', ['s3:ListMultipartUploadParts b/k']],
    ['GET', '/b?list-type=2&prefix=x', ['s3:ListBucket b']],
  ])('%s %s', (method, path, actions) => expect(of(method, path)).toEqual(actions));
  test('a copy reads what it copies', () => {
    expect(of('PUT', '/b/k', '/c/d')).toEqual(['s3:PutObject b/k', 's3:GetObject c/d']);
  });
});

describe('signatures', () => {
  const keys = {
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
    secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    sessionToken: undefined,
  };
  const scope = {
    region: 'us-east-1',
    service: 's3',
    now: new Date('2013-05-24T00:00:00Z'),
    content: 'UNSIGNED-PAYLOAD',
  };
  test("a presigned URL of AWS's own example is its holder's, and no other", () => {
    // Source: Amazon S3 API reference, "Authenticating Requests: Using Query Parameters", example.
    const url =
      '/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404';
    const asked = { method: 'GET', url, headers: { host: 'examplebucket.s3.amazonaws.com' } };
    const credential = credentialOf(asked);
    if (!credential) throw new Error('no credential');
    expect(signedBy(asked, credential, keys, Buffer.alloc(0))).toBe(true);
    expect(
      signedBy({ ...asked, url: url.replace('/test', '/best') }, credential, keys, Buffer.alloc(0)),
    ).toBe(false);
    expect(signedBy(asked, credential, { ...keys, sessionToken: 't' }, Buffer.alloc(0))).toBe(
      false,
    );
  });
  test('what is signed here is taken here, and not once it is changed', () => {
    const asked = {
      method: 'PUT',
      url: '/b/a%20b?x=1',
      headers: { host: 'h', 'x-amz-acl': 'private' },
    };
    const headers = sign(asked, keys, scope);
    const credential = credentialOf({ ...asked, headers });
    if (!credential) throw new Error('no credential');
    expect(signedBy({ ...asked, headers }, credential, keys, Buffer.alloc(0))).toBe(true);
    expect(
      signedBy(
        { ...asked, headers: { ...headers, 'x-amz-acl': 'public' } },
        credential,
        keys,
        Buffer.alloc(0),
      ),
    ).toBe(false);
  });
});

describe('patterns of events', () => {
  const event = { source: 'aws.s3', detail: { key: 'default0/data/x.csv', size: 3 }, none: null };
  test.each([
    [{ source: ['aws.s3'] }, true],
    [{ source: [{ prefix: 'aws.' }], detail: { size: [{ numeric: ['>', 1, '<=', 3] }] } }, true],
    [{ detail: { key: [{ wildcard: '*/data/*' }] } }, true],
    [{ detail: { key: [{ wildcard: '*/date/*' }] } }, false],
    [{ detail: { missing: [{ exists: false }] } }, true],
    [{ source: [{ 'anything-but': ['aws.s3'] }] }, false],
    [{ source: ['aws.s3'], detail: { size: [4] } }, false],
  ])('%j: %s', (pattern, expected) => expect(fits(pattern, event)).toBe(expected));
  test('an unknown comparison is refused by name', () => {
    expect(() => fits({ source: [{ cidr: '10.0.0.0/8' }] }, event)).toThrow('cidr');
  });
  test('a target gets a part of the event, or a text made of parts', () => {
    expect(inputOf({ InputPath: '$.detail' }, event)).toBe(JSON.stringify(event.detail));
    const InputTransformer = {
      InputPathsMap: { key: '$.detail.key', size: '$.detail.size' },
      InputTemplate: '{"of":"<key>","bytes":<size>}',
    };
    expect(JSON.parse(inputOf({ InputTransformer }, event))).toEqual({
      of: event.detail.key,
      bytes: 3,
    });
  });
});

test('routes: a full match before a greedy one, the literal before the parameter, a method before ANY', () => {
  const keys = ['ANY /a/{proxy+}', 'ANY /a/{id}', 'ANY /a/b', 'GET /a/b', '$default'];
  const choose = routesOf(
    keys.map((RouteKey) => ({
      at: '',
      stack: '',
      id: '',
      type: '',
      ref: '',
      arn: '',
      properties: { RouteKey },
    })),
  );
  const chosen = (method: string, path: string) => choose(method, path)?.route.key;
  expect(chosen('GET', '/a/b')).toBe('GET /a/b');
  expect(chosen('PUT', '/a/b')).toBe('ANY /a/b');
  expect(chosen('GET', '/a/c')).toBe('ANY /a/{id}');
  expect(chosen('GET', '/a/c/d')).toBe('ANY /a/{proxy+}');
  expect(chosen('GET', '/x')).toBe('$default');
});

test("a request is held against AWS's own model", () => {
  const check = serviceModel('sagemaker', '2017-07-24');
  const good = { ModelName: 'a-b', ExecutionRoleArn: 'arn:aws:iam::123456789012:role/x' };
  expect(check('CreateModel', good)).toBeUndefined();
  expect(check('CreateModel', { ...good, ModelName: 'a_b' })).toContain('ModelName');
  expect(check('CreateModel', { ...good, Tagz: [] })).toContain('Tagz is no member');
  expect(check('CreateModel', { ExecutionRoleArn: good.ExecutionRoleArn })).toContain('ModelName');
  expect(check('CreateModels', good)).toContain('no operation');
});

describe('templates', () => {
  const fronts = { url: () => 'http://front', gateway: 'http://gateway' };
  const account = (
    Resources: Templates[string]['Resources'],
    more: Partial<Templates[string]> = {},
  ) => deployedAccount({ templates: { one: { Resources, ...more } }, assets: new Map() }, fronts);
  test('what is not supported is refused by name', () => {
    expect(() => account({ Cluster: { Type: 'AWS::EKS::Cluster' } })).toThrow(
      'one/Cluster is a AWS::EKS::Cluster',
    );
    expect(() =>
      account({ Q: { Type: 'AWS::SQS::Queue', Properties: { FifoQueue: true } } }),
    ).toThrow('one/Q (AWS::SQS::Queue) has FifoQueue');
    expect(() =>
      account({ B: { Type: 'AWS::Events::EventBus', Properties: { Name: { 'Fn::Cidr': [] } } } }),
    ).toThrow('Fn::Cidr');
  });
  test('intrinsics are resolved, across stacks and by conditions', () => {
    const templates: Templates = {
      a: {
        Resources: { R: { Type: 'AWS::IAM::Role', Properties: { RoleName: 'r' } } },
        Outputs: { O: { Value: { 'Fn::GetAtt': ['R', 'Arn'] }, Export: { Name: 'a:r' } } },
      },
      b: {
        Conditions: { No: { 'Fn::Equals': [{ Ref: 'AWS::Region' }, 'us-east-1'] } },
        Resources: {
          Off: { Type: 'AWS::SQS::Queue', Condition: 'No' },
          Bus: {
            Type: 'AWS::Events::EventBus',
            Properties: {
              Name: {
                'Fn::Select': [1, { 'Fn::Split': [':role/', { 'Fn::ImportValue': 'a:r' }] }],
              },
            },
          },
          Log: {
            Type: 'AWS::Logs::LogGroup',
            // biome-ignore lint/suspicious/noTemplateCurlyInString: it is CloudFormation's
            Properties: { LogGroupName: { 'Fn::Sub': '/x/${Bus}/${Bus.Arn}/${!literal}' } },
          },
        },
      },
    };
    const found = deployedAccount({ templates, assets: new Map() }, fronts);
    expect(found.of('AWS::SQS::Queue')).toEqual([]);
    expect(found.of('AWS::Logs::LogGroup')[0]?.ref).toBe(
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is CloudFormation's
      '/x/r/arn:aws:events:eu-central-1:123456789012:event-bus/r/${literal}',
    );
  });
  test('a role is assumed by the service that its trust names only, and what it may not is kept', () => {
    const made = account({
      R: {
        Type: 'AWS::IAM::Role',
        Properties: {
          AssumeRolePolicyDocument: {
            Statement: [
              {
                Action: 'sts:AssumeRole',
                Effect: 'Allow',
                Principal: { Service: 'lambda.amazonaws.com' },
              },
            ],
          },
        },
      },
      P: {
        Type: 'AWS::IAM::Policy',
        Properties: {
          Roles: [{ Ref: 'R' }],
          PolicyDocument: {
            Statement: [{ Action: 'sqs:SendMessage', Effect: 'Allow', Resource: 'q' }],
          },
        },
      },
    });
    const access = accessTo(made, () => {});
    const [role] = made.of('AWS::IAM::Role');
    expect(() => access.assume(role?.arn ?? '', 'x', 'states.amazonaws.com')).toThrow(
      'cannot be assumed by states.amazonaws.com',
    );
    const caller = access.assume(role?.arn ?? '', 'one/F', 'lambda.amazonaws.com');
    access.check(caller, { action: 'sqs:SendMessage', resource: 'q' });
    expect(() => access.check(caller, { action: 'sqs:DeleteMessage', resource: 'q' })).toThrow(
      AwsError,
    );
    expect(access.denials).toEqual([
      { who: 'one/F', action: 'sqs:DeleteMessage', resource: 'q', why: 'allowed by none' },
    ]);
  });
});

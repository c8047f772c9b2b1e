import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Check,
  dailyWork,
  dropIsTold,
  everyFollowerHears,
  everyFunctionStarts,
  everyRouteIsAnswered,
  firstToken,
  machinesMay,
  readersGetTheirOwn,
  schedulesRun,
} from './checks.ts';
import { assembly, type Oracles, openStack, startOracles } from './open.ts';
import type { Templates } from './stack/assembly.ts';
import { fields, list, text, texts } from './stack/values.ts';

type Resource = Templates[string]['Resources'][string];
type Properties = Record<string, unknown>;

/** Resources of a type whose place begins so. Throws if there is none: a fault that is not planted proves nothing. */
function found(templates: Templates, type: string, at: string): Resource[] {
  const all = Object.entries(templates).flatMap(([stack, { Resources }]) =>
    Object.entries(Resources).filter(
      ([id, one]) => one.Type === type && `${stack}/${id}`.startsWith(at),
    ),
  );
  if (all.length === 0) throw new Error(`there is no ${type} at ${at} to plant a fault in`);
  return all.map(([, one]) => one);
}
const properties = (one: Resource | undefined): Properties => (one?.Properties ?? {}) as Properties;

/** Takes one action out of every statement of a role. */
const withoutGrant = (at: string, action: string) => (templates: Templates) => {
  let taken = 0;
  for (const policy of found(templates, 'AWS::IAM::Policy', at)) {
    const document = fields(properties(policy)['PolicyDocument']) as { Statement: Properties[] };
    for (const statement of document.Statement) {
      const actions = texts(statement['Action']);
      if (!actions.includes(action)) continue;
      statement['Action'] =
        actions.length > 1 ? actions.filter((one) => one !== action) : 'none:None';
      taken += 1;
    }
  }
  if (taken === 0) throw new Error(`no policy at ${at} grants ${action}`);
};
const withoutVariable = (at: string, name: string) => (templates: Templates) => {
  const variables = fields(
    fields(properties(found(templates, 'AWS::Lambda::Function', at)[0])['Environment'])[
      'Variables'
    ],
  );
  if (!(name in variables)) throw new Error(`${at} has no variable ${name}`);
  delete (variables as Properties)[name];
};
const withoutRoute = (key: string) => (templates: Templates) => {
  const { Resources } = templates['stillflow-api'] ?? { Resources: {} };
  const gone = Object.entries(Resources).filter(([, one]) => properties(one)['RouteKey'] === key);
  if (gone.length === 0) throw new Error(`there is no route ${key}`);
  for (const [id] of gone) delete Resources[id];
};
const withoutResource = (type: string, at: string) => (templates: Templates) => {
  const [gone] = found(templates, type, at);
  for (const { Resources } of Object.values(templates))
    for (const [id, one] of Object.entries(Resources)) if (one === gone) delete Resources[id];
};
const changed =
  (type: string, at: string, change: (own: Properties) => void) => (templates: Templates) =>
    change(properties(found(templates, type, at)[0]));

interface Fault {
  readonly fault: string;
  readonly plant: (templates: Templates) => void;
  readonly check: Check;
  /** What the message must name. */
  readonly names: readonly string[];
}

const FAULTS: readonly Fault[] = [
  {
    fault: "a room's grant on the table",
    plant: withoutGrant('stillflow-api/trackinghttp', 'dynamodb:PutItem'),
    check: dailyWork,
    names: ['stillflow-api/trackinghttp', 'dynamodb:PutItem', ':table/'],
  },
  {
    fault: "a room's grant on the bucket",
    plant: withoutGrant('stillflow-api/artifactshttp', 's3:PutObject'),
    check: dailyWork,
    names: ['stillflow-api/artifactshttp', 's3:PutObject', 'arn:aws:s3:::'],
  },
  {
    fault: "the relay's grant on the bus",
    plant: withoutGrant('stillflow-events/relay', 'events:PutEvents'),
    check: dailyWork,
    names: ['stillflow-events/relay', 'events:PutEvents', 'event-bus/stillflow'],
  },
  {
    fault: "a follower's grant on its queue",
    plant: withoutGrant('stillflow-events/servingalias', 'sqs:ReceiveMessage'),
    check: everyFollowerHears,
    // Whichever follower is looked at first, what is told is whose call was denied.
    names: ['servingaliasfollower', 'sqs:ReceiveMessage'],
  },
  {
    fault: "the clock's grant",
    plant: withoutGrant('stillflow-events/Tick', 'lambda:InvokeFunction'),
    check: schedulesRun,
    names: ['stillflow-events/Tick', 'lambda:InvokeFunction'],
  },
  {
    fault: "the machines' grant on functions",
    plant: withoutGrant('stillflow-compute/MachineRole', 'lambda:InvokeFunction'),
    check: machinesMay,
    names: ['stillflow-workflows/', 'lambda:InvokeFunction'],
  },
  {
    fault: "the gateway's permission to invoke a room",
    plant: withoutResource('AWS::Lambda::Permission', 'stillflow-api/registrytokenpermission'),
    check: everyRouteIsAnswered,
    names: ['/api/2.0/mlflow/registered-models/create', '500'],
  },
  {
    fault: 'a variable',
    plant: withoutVariable('stillflow-api/registryhttp', 'STILLFLOW_TABLE'),
    check: everyFunctionStarts('stillflow-api/registryhttp'),
    names: ['stillflow-api/registryhttp', 'STILLFLOW_TABLE'],
  },
  {
    fault: 'a handler of another name',
    plant: changed('AWS::Lambda::Function', 'stillflow-workflows/taskbegintask', (own) => {
      own['Handler'] = 'index.tasks';
    }),
    check: everyFunctionStarts('stillflow-workflows/taskbegintask'),
    names: ['stillflow-workflows/taskbegintask', 'Runtime.HandlerNotFound', 'index.tasks'],
  },
  {
    fault: 'a route',
    plant: withoutRoute('ANY /api/2.0/mlflow/runs/{proxy+}'),
    check: everyRouteIsAnswered,
    names: ['POST /api/2.0/mlflow/runs/create', '404'],
  },
  {
    fault: "a rule's target",
    plant: changed('AWS::Events::Rule', 'stillflow-events/servingaliasrule', (own) => {
      own['Targets'] = [];
    }),
    check: everyFollowerHears,
    names: ['serving-alias', 'target'],
  },
  {
    fault: "a queue's policy for its rule",
    plant: changed('AWS::SQS::QueuePolicy', 'stillflow-events/servingaliasPolicy', (own) => {
      const document = fields(own['PolicyDocument']) as Properties;
      document['Statement'] = list(document['Statement']).filter(
        (one) => text(fields(one)['Effect']) === 'Deny',
      );
    }),
    check: everyFollowerHears,
    names: ['serving-alias', 'sqs:SendMessage'],
  },
  {
    fault: 'the S3 notification',
    plant: changed('AWS::S3::Bucket', 'stillflow-data/Bucket', (own) => {
      delete own['NotificationConfiguration'];
    }),
    check: dropIsTold,
    names: ['S3 notification', 'stillflow-data-bucket'],
  },
  {
    fault: 'a stream filter',
    plant: changed('AWS::Lambda::EventSourceMapping', 'stillflow-events/relay', (own) => {
      delete own['FilterCriteria'];
    }),
    check: readersGetTheirOwn,
    names: ['stream filter', 'stillflow-events/relay'],
  },
];

describe('each planted fault turns its check red, in words that name it', () => {
  let oracles: Oracles;
  beforeAll(async () => {
    oracles = await startOracles();
  });
  afterAll(() => oracles?.stop());

  test.each(FAULTS)('$fault', async ({ plant, check, names }) => {
    const faulty = assembly();
    plant(faulty.templates);
    const { stack, close } = await openStack(faulty, oracles);
    try {
      const token = await firstToken(stack);
      const said = await check.run(stack, token).then(
        () => 'nothing was wrong',
        (error: Error) => error.message,
      );
      for (const name of names) expect(said).toContain(name);
    } finally {
      await close();
    }
  });
});

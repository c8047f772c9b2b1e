import { ListServiceQuotasCommand, type ServiceQuota } from '@aws-sdk/client-service-quotas';
import { instanceOf } from '../../functions/platform/aws/training.ts';
import type { JobSpec } from '../../functions/platform/ports.ts';
import { type Check, fail, ok, type Verdict, warn } from '../../local/doctor_checks.ts';
import type { Clients } from '../doctor-aws.ts';

/** A function a room and more: with fewer at once, requests and followers wait for each other. */
const ENOUGH_AT_ONCE = 100;

/** By name, as Service Quotas words it in every region; its codes are opaque. */
interface Wanted {
  readonly name: string;
  readonly service: string;
  readonly quota: string;
  readonly least: number;
  /** What happens below it. */
  readonly below: string;
  /** With nought of it nothing of the kind works at all. */
  readonly severe: boolean;
}

/** The instance that a job which asks so gets, by the same list that jobs are made with. */
const instanceFor = (resources: JobSpec['resources']): string =>
  instanceOf({
    ...{
      name: 'doctor',
      command: [],
      env: {},
      inputs: [],
      outputs: [],
      nodes: 1,
      deadlineSeconds: 60,
    },
    resources,
  }) ?? 'none';

const gpus = (count: number): JobSpec['resources'] => ({ accelerator: { type: 'nvidia', count } });

export function wantedQuotas(): Wanted[] {
  const plain = instanceFor({});
  const job = (instance: string, use: string, severe: boolean): Wanted => ({
    name: `quota ${instance}, ${use}`,
    service: 'sagemaker',
    quota: `${instance} for ${use} job usage`,
    least: 1,
    below: 'a job that needs it ends with ResourceLimitExceeded',
    severe,
  });
  return [
    {
      name: 'quota concurrency',
      service: 'lambda',
      quota: 'Concurrent executions',
      least: ENOUGH_AT_ONCE,
      below: 'requests are throttled with 429 and 503 when a few people work at once',
      severe: false,
    },
    job(plain, 'training', true),
    job(plain, 'processing', false),
    job(instanceFor(gpus(1)), 'training', false),
    job(instanceFor(gpus(8)), 'training', false),
    {
      name: 'quota serving',
      service: 'sagemaker',
      quota: 'Maximum total concurrency that can be allocated across all serverless endpoints',
      least: 10,
      below: 'a deployment that asks for more at once fails',
      severe: true,
    },
  ];
}

export function quotaChecks({ quotas }: Clients): Check[] {
  const listed = new Map<string, Promise<readonly ServiceQuota[]>>();
  const list = (service: string) => {
    const asked = listed.get(service) ?? listAll(quotas, service);
    listed.set(service, asked);
    return asked;
  };
  return wantedQuotas().map((wanted) => ({
    name: wanted.name,
    looksAt: `servicequotas:ListServiceQuotas ${wanted.service}`,
    run: async () => verdictOf(wanted, await list(wanted.service)),
  }));
}

async function listAll(client: Clients['quotas'], ServiceCode: string): Promise<ServiceQuota[]> {
  const found: ServiceQuota[] = [];
  let NextToken: string | undefined;
  do {
    const page = await client.send(
      new ListServiceQuotasCommand({ ServiceCode, MaxResults: 100, NextToken }),
    );
    found.push(...(page.Quotas ?? []));
    NextToken = page.NextToken;
  } while (NextToken);
  return found;
}

function verdictOf(
  { service, quota, least, below, severe }: Wanted,
  all: readonly ServiceQuota[],
): Verdict {
  const found = all.find(({ QuotaName }) => QuotaName?.toLowerCase() === quota.toLowerCase());
  if (found?.Value === undefined)
    return warn(
      `'${quota}' is not among ${all.length} quotas of ${service}`,
      `look for it in the Service Quotas console; without it ${below}`,
    );
  if (found.Value >= least) return ok(`'${quota}' is ${found.Value}`);
  const said = `'${quota}' is ${found.Value}, under ${least}: ${below}`;
  const fix = `ask for more: aws service-quotas request-service-quota-increase --service-code ${service} --quota-code ${found.QuotaCode} --desired-value ${least}`;
  return severe && found.Value === 0 ? fail(said, fix) : warn(said, fix);
}

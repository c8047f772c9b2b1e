import { ListServiceQuotasCommand, type ServiceQuota } from '@aws-sdk/client-service-quotas';
import { instancesFor, type Resources, type Use } from '../../functions/platform/aws/instances.ts';
import { type Check, fail, ok, type Verdict, warn } from '../../local/doctor_checks.ts';
import type { Clients } from '../doctor-aws.ts';

/** A function a room and more: with fewer at once, requests and followers wait for each other. */
const ENOUGH_AT_ONCE = 100;

/** By name, as Service Quotas words it in every region; its codes are opaque. */
interface Wanted {
  readonly name: string;
  readonly service: string;
  /** Any one of them will do: instances that stand in for each other. */
  readonly quotas: readonly string[];
  readonly least: number;
  /** What happens below it. */
  readonly below: string;
  /** With nought of it nothing of the kind works at all. */
  readonly severe: boolean;
}

const gpus = (count: number): Resources => ({ accelerator: { type: 'nvidia.com/gpu', count } });
const USAGE = {
  training: 'training job',
  processing: 'processing job',
  hosting: 'endpoint',
} as const;

/** The instances are those that a job or an endpoint which asks so is given, by the same choice. */
function instances(what: string, use: Use, asked: Resources, severe = false): Wanted {
  return {
    name: `quota of ${what}`,
    service: 'sagemaker',
    quotas: instancesFor(asked, use).map(({ type }) => `${type} for ${USAGE[use]} usage`),
    least: 1,
    below: `${what} end with ResourceLimitExceeded`,
    severe,
  };
}

export const wantedQuotas = (): Wanted[] => [
  {
    name: 'quota of functions',
    service: 'lambda',
    quotas: ['Concurrent executions'],
    least: ENOUGH_AT_ONCE,
    below: 'requests are throttled with 429 and 503 when a few people work at once',
    severe: false,
  },
  instances('jobs', 'training', {}, true),
  instances('processing jobs', 'processing', {}),
  instances('jobs with a GPU', 'training', gpus(1)),
  instances('jobs with eight GPUs', 'training', gpus(8)),
  instances('endpoints of instances', 'hosting', {}),
  instances('endpoints with a GPU', 'hosting', gpus(1)),
  {
    name: 'quota of serverless endpoints',
    service: 'sagemaker',
    quotas: ['Maximum total concurrency that can be allocated across all serverless endpoints'],
    least: 10,
    below: 'a deployment that asks for more at once fails',
    severe: true,
  },
];

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
  { service, quotas, least, below, severe }: Wanted,
  all: readonly ServiceQuota[],
): Verdict {
  const named = new Set(quotas.map((quota) => quota.toLowerCase()));
  const found = all
    .filter(
      ({ QuotaName = '', Value }) => Value !== undefined && named.has(QuotaName.toLowerCase()),
    )
    .sort((one, other) => (other.Value ?? 0) - (one.Value ?? 0));
  const [best] = found;
  const value = best?.Value;
  if (best === undefined || value === undefined)
    return warn(
      `'${quotas[0]}' is not among ${all.length} quotas of ${service}`,
      `look for it in the Service Quotas console; without it ${below}`,
    );
  const told = found.map(({ QuotaName, Value }) => `'${QuotaName}' is ${Value}`).join(', ');
  if (value >= least) return ok(told);
  const first =
    found.find(({ QuotaName }) => QuotaName?.toLowerCase() === quotas[0]?.toLowerCase()) ?? best;
  const fix = `ask for more: aws service-quotas request-service-quota-increase --service-code ${service} --quota-code ${first.QuotaCode} --desired-value ${least}`;
  const said = `${told}, under ${least}: ${below}`;
  return severe && value === 0 ? fail(said, fix) : warn(said, fix);
}

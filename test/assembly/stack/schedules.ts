import { Cron } from 'croner';
import { type Access, AwsError } from './access.ts';
import type { Account } from './account.ts';
import type { Buses } from './bus.ts';
import { type Fields, fields, number, text } from './values.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};

/** Calls back as a `rate(..)` or `cron(..)` of EventBridge Scheduler says, in UTC; what it returns ends it. */
function clock(at: string, expression: string, fire: () => void): () => void {
  const [, count, unit = ''] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
  if (count) {
    const timer = setInterval(fire, number(count, 1) * (UNIT_MS[unit] ?? 60_000));
    return () => clearInterval(timer);
  }
  // Days of the week count otherwise in AWS, and a year is none of croner's fields.
  const [, fields] = /^cron\((\S+ \S+ \S+ \S+ [?*]) \*\)$/.exec(expression) ?? [];
  if (!fields) throw new Error(`${at} runs by ${expression}, which npm run stack does not support`);
  const cron = new Cron(fields.replaceAll('?', '*'), { timezone: 'UTC' }, fire);
  return () => cron.stop();
}

/** EventBridge Scheduler: the schedules of the templates, each by its own role. */
export function startSchedules(
  account: Account,
  { access, buses, log }: { access: Access; buses: Buses; log: (line: Fields) => void },
) {
  const running = account.of('AWS::Scheduler::Schedule').flatMap(({ at, arn, properties }) => {
    if (properties['State'] === 'DISABLED') return [];
    const target = fields(properties['Target']);
    const caller = access.assume(text(target['RoleArn']), at, 'scheduler.amazonaws.com');
    const input = text(target['Input']) || '{}';
    const fire = () =>
      buses.invokeLater(caller, text(target['Arn']), input, arn).catch((error: unknown) => {
        const denied = error instanceof AwsError;
        log({
          level: 'error',
          message: denied ? 'schedule denied' : 'schedule failed',
          at,
          error: String(error),
        });
      });
    return [
      { at, fire, stop: clock(at, text(properties['ScheduleExpression']), () => void fire()) },
    ];
  });
  return {
    all: running.map(({ at }) => at),
    /** Runs one now, as its next turn would. */
    fire: async (at: string): Promise<void> => running.find((one) => one.at === at)?.fire(),
    stop: () => {
      for (const { stop } of running) stop();
    },
  };
}

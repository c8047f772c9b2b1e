import { randomUUID } from 'node:crypto';
import type { Access, Caller } from './access.ts';
import type { Account } from './account.ts';
import { ACCOUNT, REGION } from './intrinsics.ts';
import type { Host } from './lambda.ts';
import { fits, inputOf } from './pattern.ts';
import type { Queues } from './queues.ts';
import { type Fields, fields, list, number, text } from './values.ts';

export interface BusEvent {
  readonly source: string;
  readonly detailType: string;
  readonly detail: unknown;
  readonly resources?: readonly string[];
  readonly time?: string;
}

interface Rule {
  readonly at: string;
  readonly arn: string;
  readonly bus: string;
  readonly pattern: Fields;
  readonly targets: readonly Fields[];
}

/** Lambda itself tries an asynchronous event three times. Source: Lambda developer guide, "Asynchronous invocation". */
const ASYNC_ATTEMPTS = 3;
const ASYNC_BYTES = 1024 * 1024;
const ENTRY_BYTES = 256 * 1024;

/** EventBridge: the templates' buses and rules, each target by the policy of what it is sent to. */
export function eventBuses(
  account: Account,
  parts: {
    access: Access;
    host: Host;
    queues: Queues;
    retryMs: number;
    log: (line: Fields) => void;
  },
) {
  const { access, host, queues, log } = parts;
  const events = access.service('events.amazonaws.com');
  const heard: (BusEvent & { bus: string })[] = [];
  const delivered = new Map<string, number>();
  const busy = new Set<Promise<void>>();
  const rules: Rule[] = account.of('AWS::Events::Rule').map(({ at, arn, properties }) => {
    if (properties['ScheduleExpression'])
      throw new Error(`${at} has a ScheduleExpression: use a schedule of EventBridge Scheduler`);
    return {
      at,
      arn,
      bus: text(properties['EventBusName']) || 'default',
      pattern: fields(properties['EventPattern']),
      targets: properties['State'] === 'DISABLED' ? [] : list(properties['Targets']).map(fields),
    };
  });

  /** A target's event: to a queue at once, to a function as Lambda's asynchronous invocation. */
  async function deliver(rule: Rule, target: Fields, whole: unknown): Promise<void> {
    const to = text(target['Arn']);
    const input = inputOf(target, whole);
    const dead = text(fields(target['DeadLetterConfig'])['Arn']);
    try {
      if (to.includes(':sqs:')) queues.send(events, to, input, rule.arn);
      else if (to.includes(':lambda:')) await invokeLater(events, to, input, rule.arn);
      else throw new Error(`${rule.at} has the target ${to}, which npm run stack does not support`);
      delivered.set(rule.at, (delivered.get(rule.at) ?? 0) + 1);
    } catch (error) {
      log({
        level: 'error',
        message: 'target failed',
        rule: rule.at,
        target: to,
        error: String(error),
      });
      if (dead) queues.send(events, dead, input, rule.arn);
    }
  }

  /** Throws when the last attempt failed, or it may not be invoked at all. */
  async function invokeLater(
    caller: Caller,
    arn: string,
    input: string,
    sourceArn: string,
  ): Promise<void> {
    const spec = host.find(arn);
    if (!spec) throw new Error(`there is no function ${arn}`);
    if (Buffer.byteLength(input) > ASYNC_BYTES)
      throw new Error(`an event for ${spec.at} is over 1 MB`);
    const context = { 'aws:sourcearn': sourceArn, 'aws:sourceaccount': ACCOUNT };
    access.check(caller, { action: 'lambda:InvokeFunction', resource: spec.arn, context });
    for (let attempt = 1; ; attempt++) {
      const { error } = await host.invoke(spec, Buffer.from(input));
      if (!error) return;
      if (attempt >= ASYNC_ATTEMPTS)
        throw new Error(
          `${spec.at} failed ${attempt} times: ${error.errorType}: ${error.errorMessage}`,
        );
      await new Promise((resolve) => setTimeout(resolve, parts.retryMs * attempt).unref());
    }
  }

  function emit(bus: string, event: BusEvent): string {
    const id = randomUUID();
    heard.push({ ...event, bus });
    if (heard.length > 5000) heard.splice(0, 1000);
    const whole = {
      version: '0',
      id,
      'detail-type': event.detailType,
      source: event.source,
      account: ACCOUNT,
      time: event.time ?? new Date().toISOString().replace(/\.\d{3}Z$/, 'Z'),
      region: REGION,
      resources: event.resources ?? [],
      detail: event.detail,
    };
    for (const rule of rules)
      if (rule.bus === bus && fits(rule.pattern, whole))
        for (const target of rule.targets) {
          const work = deliver(rule, target, whole).finally(() => busy.delete(work));
          busy.add(work);
        }
    return id;
  }

  return {
    rules,
    heard,
    delivered: (at: string) => delivered.get(at) ?? 0,
    emit,
    invokeLater,
    /** Resolves once everything that was emitted has been delivered or set aside. */
    async settled(): Promise<void> {
      while (busy.size) await Promise.all([...busy]);
    },
    /** `PutEvents`, entry by entry as AWS answers it. */
    put(caller: Caller, entries: readonly Fields[]) {
      const arns = entries.map((entry) => {
        const name = text(entry['EventBusName']) || 'default';
        return name.startsWith('arn:')
          ? name
          : `arn:aws:events:${REGION}:${ACCOUNT}:event-bus/${name}`;
      });
      for (const resource of new Set(arns))
        access.check(caller, { action: 'events:PutEvents', resource });
      const answers = entries.map((entry, at) => {
        const { Source, DetailType, Detail, Time } = entry;
        const bus = arns[at]?.split('/').at(-1) ?? '';
        const size = number(Buffer.byteLength(text(Detail) + text(DetailType) + text(Source)), 0);
        if (size > ENTRY_BYTES)
          return { ErrorCode: 'ValidationException', ErrorMessage: 'Entry size is over 256 KB.' };
        const known =
          bus === 'default' || account.of('AWS::Events::EventBus').some(({ ref }) => ref === bus);
        if (!known)
          return {
            ErrorCode: 'ResourceNotFoundException',
            ErrorMessage: `Event bus ${bus} does not exist.`,
          };
        const time =
          Time === undefined ? {} : { time: new Date(Number(Time) * 1000).toISOString() };
        const detail: unknown = JSON.parse(text(Detail));
        return {
          EventId: emit(bus, {
            source: text(Source),
            detailType: text(DetailType),
            detail,
            ...time,
          }),
        };
      });
      return {
        Entries: answers,
        FailedEntryCount: answers.filter((one) => 'ErrorCode' in one).length,
      };
    },
  };
}
export type Buses = ReturnType<typeof eventBuses>;

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { STACKS } from '../../bin/doctor/deployment.ts';
import { DEAD } from '../../bin/doctor/events.ts';
import { property, resources, synthesize } from './templates.ts';

const { templates } = synthesize();
const RUNBOOKS = join(import.meta.dirname, '../../docs/runbooks');
const alarms = resources(templates, 'AWS::CloudWatch::Alarm');

test('every alarm says where its runbook is, and every runbook is of an alarm', () => {
  const named = alarms.map((alarm) => {
    const described = String(property(alarm, 'AlarmDescription'));
    return /docs\/runbooks\/([\w-]+\.md)$/.exec(described)?.[1] ?? `${alarm.at} names none`;
  });
  expect(named.length).toBeGreaterThan(0);
  expect(new Set(named).size).toBe(named.length);
  expect(named.sort()).toEqual(readdirSync(RUNBOOKS).sort());
});

test('a runbook says what it means, what is wrong meanwhile, where to look, what to do, and when it is over', () => {
  for (const file of readdirSync(RUNBOOKS)) {
    const text = readFileSync(join(RUNBOOKS, file), 'utf8');
    expect(text.startsWith(`# ${file.replace('.md', '')}\n`), file).toBe(true);
    const heads = [...text.matchAll(/^- \*\*([\w ]+)\.\*\* \S/gm)].map(([, head]) => head);
    expect(heads, file).toEqual(['Means', 'Meanwhile', 'Look', 'Do', 'Over when']);
  }
});

test('doctor --aws knows the stacks, and every queue of what was set aside', () => {
  expect([...STACKS].sort()).toEqual(Object.keys(templates).sort());
  const watched = alarms
    .filter((alarm) => property(alarm, 'Namespace') === 'AWS/SQS')
    .map(
      (alarm) =>
        (property(alarm, 'Dimensions', 0, 'Value') as { 'Fn::GetAtt': [string] })['Fn::GetAtt'][0],
    );
  expect(watched.length).toBeGreaterThan(0);
  const known = resources(templates, 'AWS::SQS::Queue')
    .map(({ id }) => id)
    .filter((id) => DEAD.test(id));
  expect(known.sort()).toEqual(watched.sort());
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENDPOINT_REQUESTS } from './endpoint_requests.ts';
import { FOLDER, golden, goldenNames, JOB_REQUESTS } from './requests.ts';

const MADE = { ...JOB_REQUESTS, ...ENDPOINT_REQUESTS };

test('every golden request is made by our code', () => {
  if (!process.env['STILLFLOW_GOLDEN'])
    expect(goldenNames().sort()).toEqual(Object.keys(MADE).sort());
});

describe.each(Object.keys(MADE))('%s', (name) => {
  test('is what its golden file says', async () => {
    const made = JSON.parse(JSON.stringify(await MADE[name]?.()));
    // STILLFLOW_GOLDEN=1 rewrites; the diff is then read.
    if (process.env['STILLFLOW_GOLDEN'])
      writeFileSync(join(FOLDER, `${name}.json`), `${JSON.stringify(made, null, 2)}\n`);
    expect(made).toEqual(golden(name));
  });

  test('is tagged, names one role of ours, and its nodes talk encrypted', () => {
    for (const { operation, input } of golden(name)) {
      const text = JSON.stringify(input);
      if (/^Create/.test(operation))
        expect(text, operation).toContain(
          '"Tags":[{"Key":"stillflow","Value":"run-time"},{"Key":"stillflow:workspace","Value":"default0"}]',
        );
      for (const [, arn] of text.matchAll(/"(?:\w*Role\w*)":"([^"]*)"/g))
        expect(arn, operation).toMatch(/^arn:aws:iam::123456789012:role\/stillflow-\w+$/);
      expect(text, operation).not.toContain('*');
      if (/"InstanceCount":([2-9]|\d\d)/.test(text))
        expect(text, operation).toContain('"EnableInterContainerTrafficEncryption":true');
    }
  });
});

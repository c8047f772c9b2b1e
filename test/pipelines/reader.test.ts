import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Problem } from '../../functions/kernel/problem.ts';
import { type ReadDocument, readDocument } from '../../functions/pipelines/document.ts';
import { backgroundReader } from '../../local/documents.ts';
import { pipelineRig } from './rig.ts';

const diamond = readFileSync(join(import.meta.dirname, '../golden/diamond.yaml'), 'utf8');
/** Two fields to a line, as no text of a step has them: what a reader has most work with. */
const large = (bytes: number) => {
  const line = (at: number) => `  k${at}: {size: 1, text: "${'x'.repeat(180)}"}\n`;
  const lines = Array.from({ length: Math.ceil(bytes / 210) }, (_, at) => line(at));
  return `${diamond}\n---\nplatforms:\n  kubernetes: {}\nunused:\n${lines.join('')}`;
};

test('an upload of 4 MB held up everybody else until it was read', async () => {
  let reading = false;
  const background = backgroundReader();
  const watched: ReadDocument = async (text) => {
    reading = true;
    try {
      return await background(text);
    } finally {
      reading = false;
    }
  };
  const rig = pipelineRig(undefined, { readDocument: watched });
  const form = new FormData();
  form.set('uploadfile', new Blob([large(4 * 2 ** 20)]), 'large.yaml');
  let done = false;
  const upload = Promise.resolve(
    rig.request('/apis/v2beta1/pipelines/upload', { method: 'POST', body: form }),
  ).finally(() => {
    done = true;
  });
  let answered = 0;
  while (!done) {
    const answer = await rig.request('/apis/v2beta1/pipelines');
    if (answer.status === 200 && reading) answered += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect([(await upload).status, answered > 10]).toEqual([200, true]);
});

test('a thread reads what the server itself would read, and refuses in its words', async () => {
  const read = backgroundReader({ smallBytes: 0 });
  expect(await read(diamond)).toEqual(readDocument(diamond));
  const problemOf = async (act: () => unknown) => {
    try {
      await act();
    } catch (error) {
      if (error instanceof Problem) return [error.code, error.message, error.field];
      throw error;
    }
    throw new Error('it was read');
  };
  for (const text of ['a: 1\na: 2', 'a: [1', `a: [${'1,'.repeat(700_000)}]`])
    expect(await problemOf(() => read(text))).toEqual(await problemOf(() => readDocument(text)));
});

test.each([
  ['seconds', { limitSeconds: 0 }, 'more than 0 seconds'],
  ['memory', { memoryMb: 16 }, 'more than 16 MB of memory'],
])(
  'what takes too much %s to read is refused, and the next text is read',
  async (_what, limit, words) => {
    const read = backgroundReader({ ...limit, smallBytes: 100_000 });
    const texts = Array.from({ length: 4 }, () => large(2 ** 20));
    const answers = await Promise.allSettled(texts.map((text) => read(text)));
    for (const answer of answers)
      expect(answer).toMatchObject({
        reason: { code: 'too_large', message: expect.stringContaining(words) },
      });
    expect(await read(diamond)).toEqual(readDocument(diamond));
  },
);

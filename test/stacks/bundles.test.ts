import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundle } from '../../lib/bundle.ts';
import { readRooms, usesOf } from '../../lib/rooms.ts';
import { ROOT } from '../../lib/stage.ts';

const rooms = Object.keys(readRooms().rooms);
const entries = [
  ...rooms.map((room) => `functions/${room}/handler.ts`),
  ...['authorizer', 'relay', 'compactor', 'ended', 'arrived', 'front'].map(
    (name) => `functions/handlers/${name}.ts`,
  ),
];
const packagesOf = (entry: string, start = false) => {
  const { metafile } = bundle(entry);
  const outputs = Object.entries(metafile.outputs).filter(
    ([path]) => !start || path.endsWith('index.mjs'),
  );
  return new Set(
    outputs.flatMap(([, { inputs }]) =>
      Object.keys(inputs).flatMap(
        (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules)/.exec(path)?.[1] ?? [],
      ),
    ),
  );
};

/** Bytes at a cold start, minified, and gzipped, for tracking and registry. Source: performance.md section 4.2. */
const SPEC = { bytes: 550_000, zipped: 170_000 } as const;
const HELD_TO_SPEC = ['functions/tracking/handler.ts', 'functions/registry/handler.ts'];
/** No figure of the spec: what the other entries weigh today and a bit, so that growth is noticed. */
const NO_MORE_THAN = { bytes: 1_050_000, zipped: 340_000 } as const;
/** It holds the rooms of all routes that stream, once, in place of a function for each. */
const OF_THE_FRONT = { bytes: 1_150_000, zipped: 370_000 } as const;
const budgetOf = (entry: string) => {
  if (HELD_TO_SPEC.includes(entry)) return SPEC;
  return entry.endsWith('/front.ts') ? OF_THE_FRONT : NO_MORE_THAN;
};

test.each(entries)('%s keeps its budget and knows only the clients of its room', (entry) => {
  const { startBytes, startGzipBytes } = bundle(entry);
  const { bytes, zipped } = budgetOf(entry);
  expect(startBytes).toBeLessThanOrEqual(bytes);
  expect(startGzipBytes).toBeLessThanOrEqual(zipped);
  const packages = packagesOf(entry);
  const room = /functions\/(\w+)\/handler/.exec(entry)?.[1];
  const front = entry.endsWith('/front.ts');
  // The front starts no machine, though rooms whose routes it serves do.
  const uses = room ? usesOf(room) : front ? ['jobs', 'endpoints'] : [];
  const has = (name: string) => packages.has(`@aws-sdk/${name}`);
  expect(has('client-sagemaker'), 'SageMaker').toBe(
    uses.includes('jobs') || uses.includes('endpoints'),
  );
  expect(has('client-sfn'), 'Step Functions').toBe(uses.includes('machines'));
  for (const never of ['aws-cdk-lib', 'lmdb', 'jsonata', 'vitest', 'playwright-core'])
    expect(packages.has(never), never).toBe(false);
});

test('zod comes without its locales', () => {
  for (const entry of entries) {
    const locales = Object.keys(bundle(entry).metafile.inputs).filter((path) =>
      /zod\/.*locales\/(?!en|index)/.test(path),
    );
    const kept = Object.values(bundle(entry).metafile.outputs).flatMap(({ inputs }) =>
      locales.filter((path) => (inputs[path]?.bytesInOutput ?? 0) > 0),
    );
    expect(kept, entry).toEqual([]);
  }
  const sources = readdirSync(join(ROOT, 'functions'), {
    recursive: true,
    encoding: 'utf8',
  }).filter((path) => path.endsWith('.ts'));
  const wrong = sources.filter((path) =>
    /import\s*\{[^}]*\bz\b[^}]*\}\s*from 'zod'/.test(
      readFileSync(join(ROOT, 'functions', path), 'utf8'),
    ),
  );
  expect(wrong).toEqual([]);
});

test('S3 is loaded on first use where a room mostly moves no bytes', () => {
  for (const room of ['tracking', 'registry', 'triggers', 'loops'])
    expect(packagesOf(`functions/${room}/handler.ts`, true).has('@aws-sdk/client-s3'), room).toBe(
      false,
    );
});

test('an entry stays under 15 lines', () => {
  for (const entry of entries.filter((path) => path.endsWith('handler.ts')))
    expect(
      readFileSync(join(ROOT, entry), 'utf8').trimEnd().split('\n').length,
      entry,
    ).toBeLessThan(15);
});

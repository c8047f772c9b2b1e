import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBlock, encodeBlock } from '../../functions/tracking/block.ts';
import type { Metric } from '../../functions/tracking/model.ts';

const long = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer(),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
);
const point: fc.Arbitrary<Metric> = fc.record(
  {
    key: fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }),
    value: fc.double(),
    step: long,
    timestamp: long,
    modelId: fc.string({ minLength: 1 }),
    datasetName: fc.string({ minLength: 1 }),
    datasetDigest: fc.string({ minLength: 1 }),
  },
  { requiredKeys: ['key', 'value', 'step', 'timestamp'] },
);

test('a block gives back every point, in order and bit by bit', () => {
  fc.assert(
    fc.property(fc.array(point, { maxLength: 50 }), (points) => {
      expect(decodeBlock(encodeBlock(points))).toEqual(points);
    }),
    { numRuns: 300 },
  );
});

test('a block asked for one key gives the points of that key', () => {
  fc.assert(
    fc.property(fc.array(point, { minLength: 1, maxLength: 20 }), fc.nat(), (points, at) => {
      const { key } = points[at % points.length]!;
      expect(decodeBlock(encodeBlock(points), key)).toEqual(points.filter((p) => p.key === key));
    }),
  );
});

test.each([Number.NaN, Infinity, -Infinity, 1e308, 5e-324, -0, Number.MAX_VALUE])(
  'C06: the double %d survives, which a number of DynamoDB would not',
  (value) => {
    const [back] = decodeBlock(encodeBlock([{ key: 'a', value, step: 0, timestamp: 0 }]));
    expect(Object.is(back?.value, value)).toBe(true);
  },
);

test('a thousand points over fifty keys take 12 bytes each', () => {
  const points = Array.from({ length: 1000 }, (_, i) => ({
    key: `metric_number_${i % 50}`,
    value: Math.sin(i),
    step: Math.floor(i / 50),
    timestamp: 1_795_504_370_000 + i,
  }));
  expect(encodeBlock(points).length).toBeLessThan(13_500);
});

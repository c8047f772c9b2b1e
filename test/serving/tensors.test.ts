import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Problem } from '../../functions/kernel/problem.ts';
import {
  InferRequest,
  invocationOf,
  outputsOf,
  readPredictions,
  readTensor,
  type Tensor,
} from '../../functions/serving/tensors.ts';

const RANGES: [string, bigint, bigint][] = [
  ['UINT8', 0n, 255n],
  ['INT8', -128n, 127n],
  ['INT16', -(2n ** 15n), 2n ** 15n - 1n],
  ['UINT32', 0n, 2n ** 32n - 1n],
  ['INT64', -(2n ** 63n), 2n ** 63n - 1n],
  ['UINT64', 0n, 2n ** 64n - 1n],
];
const integer = fc
  .constantFrom(...RANGES)
  .chain(([datatype, min, max]) =>
    fc.record({ datatype: fc.constant(datatype), value: fc.constant(fc.bigInt({ min, max })) }),
  );
const kind = fc.oneof(
  integer,
  fc.record({
    datatype: fc.constant('FP64'),
    value: fc.constant(fc.double({ noNaN: true, noDefaultInfinity: true })),
  }),
  fc.record({ datatype: fc.constant('BOOL'), value: fc.constant(fc.boolean()) }),
  fc.record({ datatype: fc.constant('BYTES'), value: fc.constant(fc.string()) }),
);
const tensor = kind.chain(({ datatype, value }) =>
  fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }).chain((shape) => {
    const count = shape.reduce((a, b) => a * b, 1);
    return fc
      .array(value as fc.Arbitrary<unknown>, { minLength: count, maxLength: count })
      .map((data) => ({ name: 't', shape, datatype, data }));
  }),
);

const nest = (data: unknown[], shape: number[]): unknown[] => {
  const [, ...rest] = shape;
  if (!rest.length) return data;
  const size = rest.reduce((a, b) => a * b, 1);
  return Array.from({ length: data.length / size }, (_, i) =>
    nest(data.slice(i * size, (i + 1) * size), rest),
  );
};

test('flat and nested data of one tensor read alike, and no value changes', () => {
  void fc.assert(
    fc.property(tensor, (raw) => {
      const flat = readTensor(raw);
      expect(flat.data).toEqual(raw.data);
      expect(readTensor({ ...raw, data: nest(raw.data, raw.shape) })).toEqual(flat);
    }),
  );
});

test('data that is one short or one long is refused by its name', () => {
  void fc.assert(
    fc.property(tensor, fc.boolean(), (raw, longer) => {
      const data = longer ? [...raw.data, raw.data[0]] : raw.data.slice(1);
      expect(() => readTensor({ ...raw, data })).toThrow(/Tensor 't': .*values and data has/);
    }),
  );
});

test('whatever is sent as a tensor is read, or refused as invalid and never otherwise', () => {
  const anything = fc.record({
    name: fc.string({ minLength: 1 }),
    shape: fc.array(fc.anything()),
    datatype: fc.oneof(fc.string(), fc.constantFrom('FP64', 'INT8', 'BYTES', 'FP16')),
    data: fc.anything(),
    parameters: fc.option(fc.dictionary(fc.string(), fc.anything())),
  });
  void fc.assert(
    fc.property(anything, (raw) => {
      const parsed = InferRequest.safeParse({ inputs: [raw] });
      if (!parsed.success) return;
      try {
        const read = parsed.data.inputs.map(readTensor);
        invocationOf(read, undefined);
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== 'invalid') throw error;
      }
    }),
  );
});

test('columns keep each value in its row', () => {
  const columns = fc
    .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 20 }))
    .map(([width, rows]) =>
      Array.from(
        { length: width },
        (_, c): Tensor => ({
          name: `c${c}`,
          datatype: 'INT64',
          shape: rows % 2 ? [rows] : [rows, 1],
          data: Array.from({ length: rows }, (_, r) => r * 100 + c),
        }),
      ),
    );
  void fc.assert(
    fc.property(columns, (tensors) => {
      const { dataframe_split: split } = invocationOf(tensors, undefined) as {
        dataframe_split: { columns: string[]; data: number[][] };
      };
      expect(split.columns).toEqual(tensors.map(({ name }) => name));
      for (const [r, row] of split.data.entries())
        expect(row).toEqual(tensors.map((_, c) => r * 100 + c));
    }),
  );
});

test('a model of tensors gets them by name, with their shapes', () => {
  const signature = {
    kind: 'tensors' as const,
    inputs: [{ name: 'image', type: 'float32', shape: [-1, 2, 2] }],
    outputs: [],
  };
  const image: Tensor = { name: 'image', datatype: 'FP32', shape: [1, 2, 2], data: [1, 2, 3, 4] };
  const data = [
    [
      [1, 2],
      [3, 4],
    ],
  ];
  expect(invocationOf([image], signature)).toEqual({ inputs: { image: data } });
  expect(invocationOf([{ ...image, name: 'x' }], signature)).toEqual({ inputs: data });
});

test.each([
  ['[1, 2]', 'INT64', [2]],
  ['[1.0, 2.0]', 'FP64', [2]],
  ['[1, 2e3]', 'FP64', [2]],
  ['[[1, 2, 3], [4, 5, 6]]', 'INT64', [2, 3]],
  ['[[0.5], [1]]', 'FP64', [2, 1]],
  ['["a", "b"]', 'BYTES', [2]],
  ['[true]', 'BOOL', [1]],
  ['[null, 1]', 'FP64', [2]],
  ['7', 'INT64', [1]],
  ['[[1], [2, 3]]', 'BYTES', [2]],
  ['[]', 'INT64', [0]],
])('predictions %s are %s of %j', (predictions, datatype, shape) => {
  const outputs = outputsOf(readPredictions(`{"predictions": ${predictions}}`));
  expect(outputs).toMatchObject([{ name: 'predict', datatype, shape }]);
});

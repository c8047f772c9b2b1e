import * as z from 'zod';

/**
 * Protobuf's JSON, field by field, as zod schemas. What differs from wire to wire is an argument: whether unknown
 * fields are refused (KFP) or ignored (MLflow), whether camelCase names are read too.
 * Source: protobuf.dev/programming-guides/json; mlflow.md section 1; kfp.md section 1.1.
 */
export interface MessageRules {
  readonly unknown: 'ignore' | 'refuse';
  /** Read `runId` as `run_id` as well; both at once is refused. */
  readonly camel: boolean;
}

const camelOf = (name: string) =>
  name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** A message: names its fields in snake_case. A field that is null counts as unset. */
export function message<Shape extends z.ZodRawShape>(shape: Shape, rules: MessageRules) {
  const names = new Map<string, string>();
  for (const name of Object.keys(shape)) {
    names.set(name, name);
    if (rules.camel) names.set(camelOf(name), name);
  }
  const object = rules.unknown === 'refuse' ? z.strictObject(shape) : z.object(shape);
  return z.preprocess((value, context) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    const read: Record<string, unknown> = Object.create(null);
    for (const [given, item] of Object.entries(value)) {
      const name = names.get(given) ?? given;
      if (name in read)
        context.addIssue({
          code: 'custom',
          path: [name],
          message: 'is given twice, as snake_case and camelCase',
        });
      if (item !== null) read[name] = item;
    }
    return { ...read };
  }, object);
}

const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);

/** int64 as number or bigint: a bigint only beyond 2^53. Reads numbers and decimal strings. */
export const int64 = () =>
  z.unknown().transform((value, context): number | bigint => {
    const read = typeof value === 'string' && /^-?\d{1,19}$/.test(value) ? BigInt(value) : value;
    if (typeof read === 'bigint' && read >= MIN_INT64 && read <= MAX_INT64)
      return Number.isSafeInteger(Number(read)) ? Number(read) : read;
    if (typeof read === 'number' && Number.isSafeInteger(read)) return read === 0 ? 0 : read;
    context.addIssue({ code: 'custom', message: 'must be an integer of 64 bits', input: value });
    return z.NEVER;
  });

/** An int64 that must stay within 2^53: sizes, counts, times. */
export const safeInt = () =>
  int64().transform((value, context): number => {
    if (typeof value === 'number') return value;
    context.addIssue({ code: 'custom', message: 'is out of range', input: value });
    return z.NEVER;
  });

/** int32, as number or decimal string. */
export const int32 = () =>
  safeInt().refine(
    (value) => value >= -(2 ** 31) && value < 2 ** 31,
    'must be an integer of 32 bits',
  );

const WORDS: Record<string, number> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/** double: a number, a numeric string, or one of the words NaN, Infinity and -Infinity. */
export const double = () =>
  z.unknown().transform((value, context): number => {
    if (typeof value === 'number') return value;
    if (typeof value === 'bigint') return Number(value);
    if (typeof value === 'string') {
      if (value in WORDS) return WORDS[value] as number;
      if (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(value)) return Number(value);
    }
    context.addIssue({ code: 'custom', message: 'must be a number', input: value });
    return z.NEVER;
  });

/** bool: JSON's, or `true` and `false` as words of a query string. */
export const bool = () =>
  z.union([z.boolean(), z.enum(['true', 'false']).transform((word) => word === 'true')]);

/** A repeated field: a list, or one value of a query string. */
export const repeated = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (value === undefined || Array.isArray(value) ? value : [value]),
    z.array(item).default([]),
  );

/** An enum by name or number. A word that it does not know is undefined with `lenient`; all else is refused. */
export function enumeration<const Names extends Record<string, number>>(
  names: Names,
  how: 'lenient' | 'strict',
) {
  const byNumber = new Map(Object.entries(names).map(([name, number]) => [number, name]));
  return z.unknown().transform((value, context): keyof Names | undefined => {
    if (typeof value === 'string' && Object.hasOwn(names, value)) return value as keyof Names;
    const name = byNumber.get(
      typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : (value as number),
    );
    if (name !== undefined) return name as keyof Names;
    if (how === 'lenient' && typeof value === 'string') return undefined;
    context.addIssue({
      code: 'custom',
      message: `must be one of ${Object.keys(names).join(', ')}`,
      input: value,
    });
    return z.NEVER;
  });
}

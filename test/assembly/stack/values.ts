/** JSON as templates and requests hold it, read field by field. */
export type Fields = Readonly<Record<string, unknown>>;

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const fields = (value: unknown): Fields => (isFields(value) ? value : {});
/** One or many, as IAM and CloudFormation write both; absent is none. */
export const list = (value: unknown): readonly unknown[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [value];
export const texts = (value: unknown): string[] => list(value).map(text);
export const text = (value: unknown): string => (typeof value === 'string' ? value : '');
export const number = (value: unknown, otherwise: number): number =>
  value === undefined ? otherwise : Number(value);

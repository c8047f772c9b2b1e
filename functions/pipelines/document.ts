import { readJson } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import { readYaml, YamlRefusal } from './yaml.ts';

/** A pipeline as it comes in a file: the IR, and the settings of a platform in a second document. */
export interface PipelineDocument {
  readonly pipeline: unknown;
  readonly platform?: unknown;
}

/** Reads a file's text: `readDocument`, or the like where it does not hold up who else asks. */
export type ReadDocument = (text: string) => Promise<PipelineDocument>;

/** 8 times the largest file of the upstream corpus with room to grow; a scanner's time grows with it. */
export const MAX_TEXT_BYTES = 8 * 2 ** 20;
/** A megabyte of nothing but structure has some 270,000 tokens, and 100,000 tokens take up to 80 MB to read. */
const YAML_LIMITS = {
  documents: 2,
  tokens: 600_000,
  valueBytes: 32 * 2 ** 20,
  depth: 100,
} as const;

const refuse = (why: string, cause?: unknown) =>
  new Problem('invalid', `Invalid pipeline spec: ${why}`, { field: 'uploadfile', cause });
/** `why`: a sentence without its beginning and its stop. */
export const specTooLarge = (why: string) =>
  new Problem('too_large', `The pipeline spec is too large: ${why}.`, { field: 'uploadfile' });
export const tooManyBytes = () => specTooLarge(`it has more than ${MAX_TEXT_BYTES} bytes`);

/**
 * YAML, of which JSON is a part, as plain values: tags construct nothing, what aliases stand for is capped, keys that
 * name a prototype are refused. Throws `invalid` and `too_large`. Source: hardening.md C08 and C09.
 */
export function readDocument(text: string): PipelineDocument {
  if (Buffer.byteLength(text) > MAX_TEXT_BYTES) throw tooManyBytes();
  if (/^\s*\{/.test(text)) return { pipeline: readJson(text) };
  const [pipeline = null, platform = null] = documents(text);
  if (pipeline === null) throw refuse('the file is empty.');
  return platform === null ? { pipeline } : { pipeline, platform };
}

function documents(text: string): unknown[] {
  try {
    return readYaml(text, YAML_LIMITS);
  } catch (cause) {
    if (!(cause instanceof YamlRefusal)) throw cause;
    const why = firstLine(cause.message);
    throw cause.tooMuch ? specTooLarge(why) : refuse(`${why}.`, cause);
  }
}

const firstLine = (text: string) => (text.split('\n')[0] ?? '').slice(0, 300).replace(/[:.]$/, '');

import { parseAllDocuments, type ScalarTag } from 'yaml';
import { readJson } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';

/** A pipeline as it comes in a file: the IR, and the settings of a platform in a second document. */
export interface PipelineDocument {
  readonly pipeline: unknown;
  readonly platform?: unknown;
}

/** 8 times the largest file of the upstream corpus with room to grow; a scanner's time grows with it. */
export const MAX_TEXT_BYTES = 8 * 2 ** 20;
const MAX_DEPTH = 100;

const refuse = (why: string, cause?: unknown) =>
  new Problem('invalid', `Invalid pipeline spec: ${why}`, { field: 'uploadfile', cause });

/** `010` is eight, as for the Go server's reader; YAML 1.2 alone would say ten. */
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?0[0-7]+$/,
  resolve: (text) => Number.parseInt(text, 8),
};

/**
 * YAML, of which JSON is a part, as plain values: tags construct nothing, aliases are capped, keys that name a
 * prototype are refused. Throws `invalid`. Source: hardening.md C08 and C09.
 */
export function readDocument(text: string): PipelineDocument {
  if (Buffer.byteLength(text) > MAX_TEXT_BYTES)
    throw new Problem('too_large', `The pipeline spec is larger than ${MAX_TEXT_BYTES} bytes.`);
  if (/^\s*\{/.test(text)) return { pipeline: readJson(text) };
  checkNesting(text);
  const [pipeline, platform, ...more] = documents(text);
  if (pipeline === undefined || pipeline === null) throw refuse('the file is empty.');
  if (more.length) throw refuse('the file holds more than two documents.');
  return platform === undefined || platform === null ? { pipeline } : { pipeline, platform };
}

function documents(text: string): unknown[] {
  try {
    const parsed = parseAllDocuments(text, {
      customTags: (tags) => [octal, ...tags],
      prettyErrors: true,
    });
    if (!Array.isArray(parsed)) return [];
    return parsed.map((document) => {
      const [error] = document.errors;
      if (error) throw error;
      const [warning] = document.warnings;
      if (warning) throw refuse(`${firstLine(warning.message)}.`);
      return plain(document.toJS({ maxAliasCount: 100 }), 0);
    });
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    throw refuse(`it is not YAML: ${firstLine((cause as Error).message)}.`, cause);
  }
}

const firstLine = (text: string) => (text.split('\n')[0] ?? '').slice(0, 200).replace(/[:.]$/, '');

function plain(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw refuse(`it nests deeper than ${MAX_DEPTH} levels.`);
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (typeof value === 'number' && !Number.isFinite(value))
    throw refuse('it holds a number that is not finite.');
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Object.getPrototypeOf(value) !== Object.prototype)
    throw refuse('it holds something that is no mapping, list, text, number or truth.');
  for (const [key, item] of Object.entries(value)) {
    if (key === '__proto__') throw refuse("it holds a field named '__proto__'.");
    (value as Record<string, unknown>)[key] = plain(item, depth + 1);
  }
  return value;
}

/** The reader walks down by recursion: refuse what would exhaust its stack before it starts. */
function checkNesting(text: string): void {
  let open = 0;
  for (const [character] of text.matchAll(/[[\]{}]/g)) {
    open = '[{'.includes(character) ? open + 1 : Math.max(0, open - 1);
    if (open > 500) throw refuse(`it nests deeper than ${MAX_DEPTH} levels.`);
  }
}

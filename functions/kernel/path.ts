import { Problem } from './problem.ts';

const MAX_SEGMENTS = 32;
const MAX_BYTES = 1024;
const MAX_SEGMENT_BYTES = 255;

/**
 * The segments of a relative artifact path, already decoded once by the router. Whatever could name another place
 * than it says is refused: `..`, empty segments, backslashes, schemes, control and invisible characters, names that
 * only look like dots, and a `%` that a second decoding would read.
 * Throws `invalid`, naming `field`. Source: hardening.md section 3 rule 3, rows A01 to A13.
 */
export function pathSegments(path: string, field: string): string[] {
  const refuse = (why: string) =>
    new Problem('invalid', `Invalid path in '${field}': ${why}.`, { field });
  if (path === '') throw refuse('it is empty');
  if (Buffer.byteLength(path) > MAX_BYTES) throw refuse(`it is longer than ${MAX_BYTES} bytes`);
  if (path !== path.normalize('NFC')) throw refuse('it is not in Unicode normal form C');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses.
  if (/[\u0000-\u001f\u007f-\u009f\ufffd]/.test(path))
    throw refuse('it holds a control character or broken UTF-8');
  if (/\p{Cf}|[\ud800-\udfff]/u.test(path)) throw refuse('it holds an invisible character');
  if (/[\\]/.test(path)) throw refuse('it holds a backslash');
  if (/%[0-9a-f]{2}/i.test(path)) throw refuse('it holds a percent-encoded character');
  if (/[#?;:]/.test(path)) throw refuse("it holds one of '#', '?', ';' or ':'");
  const segments = path.split('/');
  if (segments.length > MAX_SEGMENTS) throw refuse(`it has more than ${MAX_SEGMENTS} segments`);
  for (const segment of segments) {
    if (segment === '') throw refuse('it has an empty segment or starts with /');
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES)
      throw refuse(`a segment is longer than ${MAX_SEGMENT_BYTES} bytes`);
    const plain = segment.normalize('NFKC');
    if (/^[.\s]+$/.test(plain)) throw refuse('a segment is made of dots or blanks only');
    if (/[.\s]$/.test(plain)) throw refuse('a segment ends with a dot or a blank');
    if (/[/\\]/.test(plain)) throw refuse('a segment holds what looks like a slash');
  }
  return segments;
}

/** The path itself, once its segments have passed. */
export const checkedPath = (path: string, field: string): string =>
  pathSegments(path, field).join('/');

/** One segment: an id or a name that becomes part of a key, a folder or a cloud name. */
export function checkedSegment(text: string, field: string): string {
  const [only, ...more] = pathSegments(text, field);
  if (only === undefined || more.length)
    throw new Problem('invalid', `Invalid value for '${field}': it holds a slash.`, { field });
  return only;
}

import { Problem } from '../kernel/problem.ts';

/** The file of a form, read whole up to the cap. */
export interface FormFile {
  /** As the client named it, without folders; may be empty. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface FormLimits {
  readonly fileBytes: number;
  readonly parts: number;
}

const HEADER_BYTES = 8192;
const EMPTY = Buffer.alloc(0);
const refuse = (why: string) =>
  new Problem('invalid', `Invalid form: ${why}`, { field: 'uploadfile' });

/**
 * One file field of a multipart/form-data body, taken off the stream: parts of other names are passed over without
 * being kept, and reading ends with the first byte too many. Throws `media`, `invalid` and `too_large`.
 * Source: RFC 7578, RFC 2046 section 5.1.1; hardening.md C22.
 */
export async function formFile(
  contentType: string | null,
  body: ReadableStream<Uint8Array>,
  field: string,
  limits: FormLimits,
): Promise<FormFile> {
  const delimiter = Buffer.from(`\r\n--${boundaryOf(contentType)}`);
  const reader = bytesOf(body);
  // The first delimiter has no line before it; give it one.
  reader.push(Buffer.from('\r\n'));
  await skipTo(reader, delimiter);
  for (let parts = 1; parts <= limits.parts; parts++) {
    if (await isLast(reader)) throw refuse(`it has no file in the field '${field}'.`);
    const header = await take(reader, Buffer.from('\r\n\r\n'), HEADER_BYTES, () =>
      refuse('the headers of a part are too long or do not end.'),
    );
    const { name, file } = disposition(header.toString('utf8'));
    if (name !== field) {
      await skipTo(reader, delimiter);
      continue;
    }
    const bytes = await take(
      reader,
      delimiter,
      limits.fileBytes,
      () => new Problem('too_large', `The file is larger than ${limits.fileBytes} bytes.`),
    );
    await drain(reader);
    return { name: file, bytes };
  }
  throw refuse(`it has more than ${limits.parts} parts.`);
}

function boundaryOf(contentType: string | null): string {
  if (!/^multipart\/form-data\b/i.test(contentType ?? ''))
    throw new Problem('media', 'Send the pipeline as multipart/form-data, field uploadfile.', {
      field: 'Content-Type',
    });
  const [, quoted, bare] =
    /;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType ?? '') ?? [];
  const boundary = quoted ?? bare;
  if (!boundary) throw refuse('its Content-Type has no boundary of 1 to 70 characters.');
  return boundary;
}

function disposition(header: string): { name: string | undefined; file: string } {
  const line = header.split('\r\n').find((each) => /^content-disposition\s*:/i.test(each)) ?? '';
  const value = (key: string) =>
    new RegExp(`;\\s*${key}="((?:[^"\\\\]|\\\\.)*)"`, 'i').exec(line)?.[1];
  const file = value('filename') ?? '';
  return { name: value('name'), file: file.slice(file.search(/[^/\\]*$/)).slice(0, 255) };
}

interface Reader {
  held: Buffer;
  push(bytes: Buffer): void;
  /** False at the end of the body. */
  more(): Promise<boolean>;
}

function bytesOf(body: ReadableStream<Uint8Array>): Reader {
  const source = body[Symbol.asyncIterator]({ preventCancel: true });
  const reader: Reader = {
    held: EMPTY,
    push(bytes) {
      reader.held = reader.held.length ? Buffer.concat([reader.held, bytes]) : bytes;
    },
    async more() {
      const next = await source.next();
      if (!next.done) reader.push(Buffer.from(next.value));
      return !next.done;
    },
  };
  return reader;
}

/** What follows the file is a few bytes as a rule; reading them keeps the connection. */
async function drain(reader: Reader): Promise<void> {
  for (let chunks = 0; chunks < 16; chunks++) {
    reader.held = EMPTY;
    if (!(await reader.more())) return;
  }
}

/** Everything up to the mark, which is taken off too. Chunks are kept apart, so that a long part costs one copy. */
async function take(
  reader: Reader,
  mark: Buffer,
  limit: number,
  tooLong: () => Problem,
): Promise<Buffer> {
  const kept: Buffer[] = [];
  let size = 0;
  for (;;) {
    const at = reader.held.indexOf(mark);
    // What could be the mark's beginning stays for the next look.
    const sure = at >= 0 ? at : Math.max(0, reader.held.length - mark.length + 1);
    size += sure;
    if (size > limit) throw tooLong();
    kept.push(reader.held.subarray(0, sure));
    reader.held = reader.held.subarray(at >= 0 ? at + mark.length : sure);
    if (at >= 0) return Buffer.concat(kept);
    if (!(await reader.more())) throw refuse('it ends in the middle of a part.');
  }
}

async function skipTo(reader: Reader, mark: Buffer): Promise<void> {
  for (;;) {
    const at = reader.held.indexOf(mark);
    reader.held = reader.held.subarray(
      at >= 0 ? at + mark.length : Math.max(0, reader.held.length - mark.length + 1),
    );
    if (at >= 0) return;
    if (!(await reader.more())) throw refuse('its boundary does not occur in it.');
  }
}

/** After a delimiter: two dashes end the form, blanks and a line end go on to a part. */
async function isLast(reader: Reader): Promise<boolean> {
  while (reader.held.length < 2) if (!(await reader.more())) return true;
  if (reader.held[0] === 0x2d && reader.held[1] === 0x2d) return true;
  await take(reader, Buffer.from('\r\n'), 128, () => refuse('a boundary is followed by text.'));
  return false;
}

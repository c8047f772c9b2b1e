import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { type Entry, fromBuffer, type ZipFile } from 'yauzl';
import { Problem } from '../kernel/problem.ts';
import { MAX_TEXT_BYTES, tooManyBytes } from './document.ts';

const MAX_ENTRIES = 1000;
const MAX_UNPACKED_BYTES = 64 * 2 ** 20;
const WANTED = 'pipeline.yaml';

const refuse = (why: string, cause?: unknown) =>
  new Problem('invalid', `Invalid pipeline package: ${why}`, { field: 'uploadfile', cause });

/**
 * The text of a pipeline's file: a zip (`PK`), a gzipped tar (1F 8B), else the text itself. Of an archive
 * `pipeline.yaml`, else its first file; nothing is written to a disk, so no name in it can do harm.
 * Throws `invalid` and `too_large`. Source: kfp.md section 1.5, upload.
 */
export async function specText(bytes: Uint8Array): Promise<string> {
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) return decoded(await fromZip(bytes));
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return decoded(await fromTar(bytes));
  return decoded(bytes);
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw refuse('its text is not valid UTF-8.', cause);
  }
}

async function fromTar(bytes: Uint8Array): Promise<Uint8Array> {
  const unpacked = createGunzip();
  const files = extract();
  // Every byte counts, also those that belong to no file: zeros between the heads are skipped without a word.
  const counted = Readable.from(atMost(MAX_UNPACKED_BYTES, Readable.from([bytes]).pipe(unpacked)));
  counted.on('error', (error) => files.destroy(error));
  let first: Uint8Array | undefined;
  let entries = 0;
  try {
    for await (const entry of counted.pipe(files)) {
      entries += 1;
      if (entries > MAX_ENTRIES) throw refuse(`it holds more than ${MAX_ENTRIES} files.`);
      if ((entry.header.size ?? 0) > MAX_UNPACKED_BYTES) throw tooManyBytes();
      const isFile = entry.header.type === 'file' && !isHidden(entry.header.name);
      const wanted = isFile && baseName(entry.header.name) === WANTED;
      if (wanted || (isFile && !first)) {
        const text = await collected(entry as unknown as AsyncIterable<Uint8Array>);
        if (wanted) return text;
        first = text;
      } else entry.resume();
    }
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    throw refuse('it is not a gzipped tar archive.', cause);
  } finally {
    counted.destroy();
    unpacked.destroy();
  }
  if (!first) throw refuse('it holds no file.');
  return first;
}

async function* atMost(most: number, bytes: AsyncIterable<Uint8Array>) {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > most) throw tooManyBytes();
    yield chunk;
  }
}

async function fromZip(bytes: Uint8Array): Promise<Uint8Array> {
  let zip: ZipFile | undefined;
  try {
    const opened = await opening(bytes);
    zip = opened;
    if (opened.entryCount > MAX_ENTRIES) throw refuse(`it holds more than ${MAX_ENTRIES} files.`);
    const files = (await entriesOf(opened)).filter(
      ({ fileName }) => !fileName.endsWith('/') && !isHidden(fileName),
    );
    const chosen = files.find(({ fileName }) => baseName(fileName) === WANTED) ?? files[0];
    if (!chosen) throw refuse('it holds no file.');
    if (chosen.uncompressedSize > MAX_TEXT_BYTES) throw tooManyBytes();
    const stream = await new Promise<Readable>((resolve, reject) =>
      opened.openReadStream(chosen, (error, found) => (error ? reject(error) : resolve(found))),
    );
    return await collected(stream);
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    throw refuse('it is not a zip archive.', cause);
  } finally {
    zip?.close();
  }
}

const opening = (bytes: Uint8Array) =>
  new Promise<ZipFile>((resolve, reject) =>
    fromBuffer(Buffer.from(bytes), { lazyEntries: true, autoClose: false }, (error, zip) =>
      error ? reject(error) : resolve(zip),
    ),
  );

const entriesOf = (zip: ZipFile) =>
  new Promise<Entry[]>((resolve, reject) => {
    const found: Entry[] = [];
    zip.on('entry', (entry: Entry) => {
      found.push(entry);
      zip.readEntry();
    });
    zip.on('end', () => resolve(found));
    zip.on('error', reject);
    zip.readEntry();
  });

async function collected(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > MAX_TEXT_BYTES) throw tooManyBytes();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const baseName = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const isHidden = (path: string) => baseName(path).startsWith('.') || path.startsWith('__MACOSX/');

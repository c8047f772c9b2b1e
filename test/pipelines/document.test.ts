import { createGzip, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { Problem } from '../../functions/kernel/problem.ts';
import { specText } from '../../functions/pipelines/archive.ts';
import { MAX_TEXT_BYTES, readDocument } from '../../functions/pipelines/document.ts';
import { formFile } from '../../functions/pipelines/multipart.ts';

const problem = (act: () => unknown): Problem => {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(Problem);
    return error as Problem;
  }
  throw new Error('it was read');
};
const rejected = async (act: Promise<unknown>): Promise<Problem> => {
  const error = await act.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(Problem);
  return error as Problem;
};

describe('YAML', () => {
  // Source: hardening.md C09. As gopkg.in/yaml.v3, which upstream's server reads with; a date stays the text it is.
  test.each<[string, unknown]>([
    ['no', 'no'],
    ['yes', 'yes'],
    ['true', true],
    ['010', 8],
    ['0o10', 8],
    ['10', 10],
    ['1e3', 1000],
    ['0x10', 16],
    ['2026-11-24', '2026-11-24'],
    ['~', null],
    ['1.0', 1],
    ["'1'", '1'],
  ])('%s is %j', (text, value) => {
    expect(readDocument(`a: ${text}`).pipeline).toEqual({ a: value });
  });

  test('comes in two documents, the second for a platform', () => {
    expect(readDocument('a: 1\n---\nplatforms: {}\n')).toEqual({
      pipeline: { a: 1 },
      platform: { platforms: {} },
    });
    expect(problem(() => readDocument('a: 1\n---\nb: 2\n---\nc: 3')).message).toContain(
      'more than 2 documents',
    );
  });

  // Source: hardening.md C08.
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
  for (let i = 1; i < 10; i++) {
    const [name, before] = ['abcdefghij'[i], 'abcdefghij'[i - 1]];
    bomb.push(`${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(',')}]`);
  }
  const manyKeys = Array.from({ length: 50_000 }, (_, at) => `k${at}: 1\n`).join('');
  test.each<[string, string]>([
    ['an alias bomb', bomb.join('\n')],
    ['a function tag', 'a: !!js/function "function () { return 1 }"'],
    ['a Python tag', 'a: !!python/object/apply:os.system ["true"]'],
    ['a prototype', '__proto__: {polluted: true}'],
    ['deep nesting', `a: ${'['.repeat(10_000)}${']'.repeat(10_000)}`],
    ['a duplicate key', 'a: 1\na: 2'],
    ['a duplicate key in the middle of many', `${manyKeys}k7: 1`],
    ['a text that many aliases repeat', `a: &a ${'x'.repeat(2 ** 20)}\nb: [${'*a,'.repeat(40)}]`],
    ['an alias of what comes later', 'a: *b\nb: &b 1'],
    ['an alias of what it stands in', 'a: &a [*a]'],
    ['a field whose name is a list', '? [a]\n: 1'],
    ['deep nesting, dash by dash', `${'- '.repeat(100_000)}1`],
    ['not a number', 'a: .nan'],
    ['nothing', ''],
    ['broken text', 'a: [1'],
  ])('%s is invalid', (_what, text) => {
    expect(problem(() => readDocument(text)).code).toBe('invalid');
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  // The package's own way from text to values: slower by far for these, and right.
  test('any values are read as the package itself would read them', () => {
    const text = fc.oneof(fc.string(), fc.constantFrom('<<', '010', '~', 'a: b', '- x', '*a', "'"));
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.oneof(text, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean()),
        fc.constant(null),
        fc.array(tie('value'), { maxLength: 4 }),
        fc.dictionary(
          text.filter((key) => key !== '__proto__'),
          tie('value'),
          { maxKeys: 4 },
        ),
      ),
    }));
    fc.assert(
      fc.property(value, fc.boolean(), (document, flow) => {
        const written = stringify(
          { a: document, b: document, c: [document] },
          { ...(flow ? { collectionStyle: 'flow' } : {}), aliasDuplicateObjects: true },
        );
        const expected = parse(written, { maxAliasCount: -1 });
        expect(readDocument(`---\n${written}`).pipeline).toEqual(expected);
      }),
    );
  });

  test('an alias stands for the nearest before it', () => {
    const text = 'a: &x 1\nb: *x\nc: &x {d: 2}\ne: [*x, *x]\n*x : f';
    expect(problem(() => readDocument(text)).message).toContain('name is no text at line 5');
    expect(readDocument(text.slice(0, text.lastIndexOf('\n'))).pipeline).toEqual({
      a: 1,
      b: 1,
      c: { d: 2 },
      e: [{ d: 2 }, { d: 2 }],
    });
  });

  test('many tokens are too many, whatever the bytes', () => {
    const found = problem(() => readDocument(`a: [${'1,'.repeat(400_000)}]`));
    expect([found.code, found.message]).toEqual([
      'too_large',
      'The pipeline spec is too large: it has more than 600000 YAML tokens.',
    ]);
  });

  test('merge keys merge nothing', () => {
    expect(readDocument('b: &b {x: 1}\na: {<<: *b}').pipeline).toEqual({
      b: { x: 1 },
      a: { '<<': { x: 1 } },
    });
  });

  test('too much text is too large', () => {
    const text = `a: ${'x'.repeat(MAX_TEXT_BYTES)}`;
    expect(problem(() => readDocument(text)).code).toBe('too_large');
  });
});

async function tarball(files: Record<string, string>, kind: 'file' | 'symlink' = 'file') {
  const tar = pack();
  for (const [name, text] of Object.entries(files))
    if (kind === 'symlink') tar.entry({ name, type: 'symlink', linkname: '/etc/passwd' });
    else tar.entry({ name }, text);
  tar.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of tar.pipe(createGzip()) as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A zip with stored entries. */
function zip(files: Record<string, string>): Buffer {
  const locals: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const [path, body] = [Buffer.from(name), Buffer.from(text)];
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt32LE(crc32(body), 10);
    shared.writeUInt32LE(body.length, 14);
    shared.writeUInt32LE(body.length, 18);
    shared.writeUInt16LE(path.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), shared, path, body]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    central.push(
      Buffer.concat([Buffer.from('PK\x01\x02'), Buffer.from([20, 0]), shared, tail, path]),
    );
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(central.length, 4);
  end.writeUInt16LE(central.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, directory, Buffer.from('PK\x05\x06'), end]);
}
function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

describe('a package', () => {
  test('is known by its content, whatever its name', async () => {
    expect(await specText(Buffer.from('a: 1'))).toBe('a: 1');
    expect(await specText(zip({ 'x.yaml': 'a: 1' }))).toBe('a: 1');
    expect(await specText(await tarball({ 'x.yaml': 'a: 1' }))).toBe('a: 1');
  });
  test('gives pipeline.yaml before its first file', async () => {
    const files = { 'a.yaml': 'first', 'deep/pipeline.yaml': 'wanted', 'z.yaml': 'last' };
    expect(await specText(zip(files))).toBe('wanted');
    expect(await specText(await tarball(files))).toBe('wanted');
  });
  test.each<[string, () => Promise<Uint8Array> | Uint8Array, string]>([
    ['a broken zip', () => Buffer.from('PK\x03\x04nothing'), 'invalid'],
    ['an empty zip', () => zip({}), 'invalid'],
    ['a gzip that is no tar', () => gzipSync('x'.repeat(2000)), 'invalid'],
    ['a broken gzip', () => Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3]), 'invalid'],
    ['a tar of links', () => tarball({ 'pipeline.yaml': '' }, 'symlink'), 'invalid'],
    ['a path that climbs', () => zip({ '../../pipeline.yaml': 'a: 1' }), 'invalid'],
    ['a bomb', () => tarball({ 'pipeline.yaml': 'x'.repeat(MAX_TEXT_BYTES + 1) }), 'too_large'],
    ['a bomb of zeros, no file at all', () => gzipSync(Buffer.alloc(65 * 2 ** 20)), 'too_large'],
    ['bytes that are no text', () => Buffer.from([0xff, 0xff]), 'invalid'],
  ])('%s is refused', async (_what, make, code) => {
    expect((await rejected(specText(await make()))).code).toBe(code);
  });
});

describe('a form', () => {
  const limits = { fileBytes: 1000, parts: 5 };
  /** In pieces of `size` bytes, and how many of them were asked for. */
  function body(text: string, size: number) {
    const bytes = Buffer.from(text);
    const asked = { chunks: 0 };
    let at = 0;
    const stream = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          if (at >= bytes.length) return controller.close();
          asked.chunks += 1;
          controller.enqueue(bytes.subarray(at, at + size));
          at += size;
        },
      },
      { highWaterMark: 0 },
    );
    return { stream, asked };
  }
  const type = 'multipart/form-data; boundary=XX';
  const part = (name: string, text: string, file = '') =>
    `--XX\r\nContent-Disposition: form-data; name="${name}"${file && `; filename="${file}"`}\r\n\r\n${text}\r\n`;

  test.each([1, 2, 3, 7, 4096])('is read in pieces of %i bytes', async (size) => {
    const text = `${part('other', 'x'.repeat(50))}${part('uploadfile', 'a: 1\r\n--X', 'C:\\dir\\p.yaml')}--XX--\r\n`;
    const { name, bytes } = await formFile(type, body(text, size).stream, 'uploadfile', limits);
    expect([name, Buffer.from(bytes).toString()]).toEqual(['p.yaml', 'a: 1\r\n--X']);
  });

  test.each<[string, string | null, string, string]>([
    ['no content type', null, '', 'media'],
    ['JSON', 'application/json', '{}', 'media'],
    ['no boundary', 'multipart/form-data', part('uploadfile', 'x'), 'invalid'],
    ['another boundary', 'multipart/form-data; boundary=YY', part('uploadfile', 'x'), 'invalid'],
    ['no such field', type, `${part('other', 'x')}--XX--\r\n`, 'invalid'],
    ['an end too early', type, part('uploadfile', 'x').slice(0, -1), 'invalid'],
    ['too many parts', type, `${part('other', 'x').repeat(100_000)}--XX--\r\n`, 'invalid'],
    ['endless headers', type, `--XX\r\n${'a'.repeat(20_000)}`, 'invalid'],
    ['a file too large', type, `${part('uploadfile', 'x'.repeat(1001))}--XX--\r\n`, 'too_large'],
  ])('with %s is refused', async (_what, contentType, text, code) => {
    const { stream } = body(text, 512);
    expect((await rejected(formFile(contentType, stream, 'uploadfile', limits))).code).toBe(code);
  });

  test('with 2 GB in it is left after the first bytes too many', async () => {
    const asked = { chunks: 0 };
    const head = Buffer.from(part('uploadfile', ''));
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(asked.chunks++ === 0 ? head.subarray(0, -2) : Buffer.alloc(256, 120));
      },
    });
    expect((await rejected(formFile(type, endless, 'uploadfile', limits))).code).toBe('too_large');
    expect(asked.chunks).toBeLessThan(10);
  });
});

import { readdirSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { transform } from 'esbuild';
import { describe, expect, test } from 'vitest';
import type { Incoming } from '../../functions/kernel/route.ts';
import { compactScript, compactStyle } from '../../local/compact.ts';
import { webRoutes } from '../../local/web.ts';
import { testCall } from '../world.ts';

const folder = join(import.meta.dirname, '../../web');
const names = readdirSync(folder);
const scripts = names.filter((name) => name.endsWith('.ts'));
const text = (name: string) => readFileSync(join(folder, name), 'utf8');
const [page, file] = webRoutes();
/** The routes run without the hallway, which kernel tests hold. */
const served = (name: string) =>
  file?.run(testCall(), { file: name } as never, {} as Incoming) as Response;

test('the whole page is at most 60 KB', async () => {
  let bytes = 0;
  for (const name of names) bytes += (await served(name).arrayBuffer()).byteLength;
  expect(names).toContain('index.html');
  expect(bytes).toBeLessThanOrEqual(60 * 1024);
});

describe.each(scripts)('%s', (name) => {
  test('compact is the same program, as esbuild reads both', async () => {
    const script = stripTypeScriptTypes(text(name));
    const read = async (code: string) => (await transform(code, { minify: true })).code;
    const compact = compactScript(script);
    expect(await read(compact)).toBe(await read(script));
    expect(compact.length).toBeLessThan(script.length);
  });

  test('imports nothing from elsewhere but types', () => {
    const compact = compactScript(stripTypeScriptTypes(text(name)));
    for (const [, from] of compact.matchAll(/\bfrom ?'([^']+)'/g)) {
      expect(from).toMatch(/^\.\/[a-z]+\.ts$/);
      expect(names).toContain(from?.slice(2));
    }
  });

  test('writes no markup, runs no text', () => {
    expect(text(name)).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/);
  });
});

test('compact keeps what stands in strings, templates and expressions', () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the code that is compacted.
  const kept = ["'a  // b'", '`x  ${"}  "}  y`', '/[/*]  \\//g'];
  for (const token of kept) expect(compactScript(`const  x = ${token} ; // gone`)).toContain(token);
  expect(compactScript('a = b + +c - -d;')).toBe('a=b+ +c- -d;');
  expect(compactScript('f(1, 2,);\nif (a) {\n  return [b,];\n}')).toBe('f(1,2);if(a){return[b]}');
});

test('a style sheet loses its blanks alone', () => {
  expect(compactStyle('a > b ,\nc:hover {\n  margin: 0 auto; /* why */\n}\n')).toBe(
    'a>b,c:hover{margin:0 auto}',
  );
});

test('the markup holds no inline script, style or handler', () => {
  const markup = text('index.html');
  expect(markup).not.toMatch(/<style|\sstyle=|\son\w+=|javascript:|https?:/);
  expect(markup.match(/<script/g)).toHaveLength(1);
  for (const [, path] of markup.matchAll(/(?:href|src)="\/web\/([^"]+)"/g))
    expect(names).toContain(path);
});

describe('the routes', () => {
  test('answer with their own strict policy', async () => {
    const answer = page?.run(testCall(), {} as never, {} as Incoming) as Response;
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const policy = answer.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('unsafe');
    expect(served('page.ts').headers.get('content-type')).toContain('text/javascript');
  });

  test.each(['../package.json', '..%2fpackage.json', 'index.html/', '', '/etc/passwd', 'x.ts'])(
    '%j is no file of the page',
    (name) => expect(() => served(name)).toThrow(`The page has no file ${name}.`),
  );
});

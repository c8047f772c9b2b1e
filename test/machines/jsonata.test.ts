import { expect, test } from 'vitest';
import type { Json } from '../../functions/kernel/json.ts';
import { CAPS, createEvaluator } from '../../local/asl/jsonata.ts';
import { testWorld } from '../world.ts';

const evaluate = (body: string, variables: { [name: string]: Json } = {}, seed = 1) =>
  createEvaluator(testWorld(seed)).evaluate(
    `{% ${body} %}`,
    'Output',
    { input: { list: [1, 2, 3], text: 'abc' }, context: {} },
    variables,
  );

test.each<[string, Json]>([
  ['$states.input.list', [1, 2, 3]],
  ['$x & $states.input.text', '7abc'],
  ['$partition([1,2,3,4,5], 2)', [[1, 2], [3, 4], [5]]],
  ['$partition([], 2)', []],
  ['$range(1, 9, 2)', [1, 3, 5, 7, 9]],
  ['$range(5, 1, -2)', [5, 3, 1]],
  ['$range(2, 1, 1)', []],
  ['$parse(\'{"a": [1, null]}\')', { a: [1, null] }],
  ["$hash('abc', 'SHA-256')", 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  ["$hash('abc', 'MD5')", '900150983cd24fb0d6963f7d28e17f72'],
  ["$length($hash({'a': 1}, 'SHA-512'))", 128],
  ['$random(7) = $random(7)', true],
  ['$random(7) = $random(8)', false],
  ['$millis()', Date.UTC(2026, 10, 24)],
  ['$now()', '2026-11-24T00:00:00.000Z'],
  ["$now('[Y0001]-[M01]')", '2026-11'],
  ["$pad('x', 4, '-+')", 'x-+-'],
  ["$pad('x', -3)", '  x'],
  ["$pad('x', 1)", 'x'],
  ["$contains('abcabc', /b.a/)", true],
  ["$replace('a1b22', /[0-9]+/, '#')", 'a#b#'],
  ["$match('a1b22', /[0-9]+/).match", ['1', '22']],
  ['$count($shuffle([1..50]))', 50],
  ['$exists($eval)', false],
  ['{"a": [1..3][$ > 1]}', { a: [2, 3] }],
])('%s', async (body, value) => {
  expect(await evaluate(body, { x: 7 })).toEqual(value);
});

test('$uuid and $random follow the world that is passed in', async () => {
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  expect(await evaluate('$uuid()')).toMatch(uuid);
  expect(await evaluate('[$uuid(), $random()]')).toEqual(await evaluate('[$uuid(), $random()]'));
  expect(await evaluate('$uuid()', {}, 2)).not.toEqual(await evaluate('$uuid()', {}, 1));
  const drawn = Number(await evaluate('$random()'));
  expect(drawn).toBeGreaterThanOrEqual(0);
  expect(drawn).toBeLessThan(1);
});

test.each([
  ['$eval("1")', /T1006|non-function/],
  ['$undefined', /returned nothing/],
  ['$states.input.absent', /returned nothing/],
  ['function($x){$x}', /unsupported result type/],
  ['$sum', /unsupported result type/],
  ['"a" + 1', /T2001/],
  ["$parse('{')", /not valid JSON/],
  ['$partition([1], 0)', /positive integer/],
  ['$range(1, 2, 0)', /must be integers/],
  ["$hash('a', 'SHA-3')", /must be one of/],
  ['$error("mine")', /mine/],
])('%s fails with States.QueryEvaluationError', async (body, cause) => {
  const error = await evaluate(body).catch((thrown) => thrown);
  expect(error).toMatchObject({ error: 'States.QueryEvaluationError' });
  expect(error.cause).toMatch(cause);
});

// Source: hardening.md C16.
test.each([
  ['an endless recursion', '($f := function($n) { 1 + $f($n + 1) }; $f(0))'],
  ['an endless tail call', '($f := function($n) { $f($n + 1) }; $f(0))'],
  ['a loop of 10^8', '$sum($map([1..100000000], function($v) { $v * 2 }))'],
  ['a loop of 10^7', '$sum($map([1..10000000], function($v) { $v * 2 }))'],
  [
    'loops in loops',
    '$sum($map([1..90000], function($v) { $sum($map([1..90000], function($w) { $v * $w })) }))',
  ],
  [
    'ten ranges of 10^7 at once',
    '[[1..10000000],[1..10000000],[1..10000000],[1..10000000],[1..10000000]]',
  ],
  [
    'a regular expression that backtracks',
    '$contains("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", /^(a+)+$/)',
  ],
  ['half a gigabyte of blanks', '$pad("", 500000000)'],
  [
    'a text that doubles',
    '($f := function($s, $n) { $n = 0 ? $s : $f($s & $s, $n - 1) }; $f("ab", 40))',
  ],
  [
    'an object that doubles',
    '($f := function($o, $n) { $n = 0 ? $o : $f({"a": $o, "b": $o}, $n - 1) }; $string($f({}, 60)))',
  ],
  [
    'a list that doubles',
    '($f := function($l, $n) { $n = 0 ? $l : $f($append($l, $l), $n - 1) }; $count($f([1,2], 40)))',
  ],
  ['a range of our own', '$range(1, 1000000000, 1)'],
])('%s is stopped with a reason', async (_name, body) => {
  const error = await evaluate(body).catch((thrown) => thrown);
  expect(error).toMatchObject({ error: 'States.QueryEvaluationError' });
  expect(error.cause).toMatch(/it needs .*more than|timed out|D101[12]|D201[45]/);
});

test('the caps leave room for honest work', async () => {
  expect(await evaluate('$sum($map([1..5000], function($v) { $v * 2 }))')).toBe(25_005_000);
  expect(CAPS.steps).toBeGreaterThan(50_000);
});

test('two evaluations of one expression at once do not share their budget', async () => {
  const evaluator = createEvaluator(testWorld());
  const body = '{% $sum($map([1..$n], function($v) { $v * 2 })) %}';
  const sums = await Promise.all(
    Array.from({ length: 8 }, (_, i) => evaluator.evaluate(body, 'Output', {}, { n: 3000 + i })),
  );
  expect(sums).toEqual(Array.from({ length: 8 }, (_, i) => (3000 + i) * (3001 + i)));
});

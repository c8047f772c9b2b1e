import * as z from 'zod';
import type { Route } from '../../functions/kernel/route.ts';
import { BAD_PATHS } from '../bad-paths.ts';
import type { Asked } from './ground.ts';
import { type Good, inPath, readsQuery, requestOf } from './requests.ts';

/** A request with one thing wrong. `refused`: it must be; otherwise it may be taken, but never fail. */
export interface Fault {
  readonly what: string;
  readonly request: Asked;
  readonly refused: boolean;
  /** What the answer must speak of. */
  readonly names?: string;
}

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
}
type Fields = Readonly<Record<string, unknown>>;

/** The fields of a request as its schema says; on the inference wire those of its body. */
export function fieldsOf(route: Route): {
  all: Readonly<Record<string, Schema>>;
  required: readonly string[];
} {
  const schema = z.toJSONSchema(route.input, { io: 'input', unrepresentable: 'any' }) as Schema;
  const { body, ...outside } = schema.properties ?? {};
  // The inference wire reads nothing but its path and its body.
  const read = Object.entries(outside).filter(
    ([name]) => route.protocol.name !== 'inference' || inPath(route).includes(name),
  );
  const all = { ...Object.fromEntries(read), ...body?.properties };
  const required = [...(schema.required ?? []), ...(body?.required ?? [])].filter(
    (name) => name !== 'body',
  );
  return { all, required };
}

const WRONG: Readonly<Record<string, readonly unknown[]>> = {
  string: [7, true, ['x'], { a: 1 }],
  integer: ['x', true, [], { a: 1 }, 1.5],
  number: ['x', true, [], { a: 1 }],
  boolean: ['x', 7, [], { a: 1 }],
  array: [7, true],
  object: ['x', 7, [], true],
};
const ODD = [null, 'x', 7, true, [], ['x'], [null], [[]], [{}], {}, { a: 1 }];
const SIZES = ['0', '-1', '1000000000', 'x', '1.5', '9'.repeat(30), 'NaN', '1e400'];
const SIZE = /^(max_results|page_size|limit|num_parts)$/;
const TOKEN = /^(page_token|pageToken|page|after)$/;

/** All that is wrong with a request field by field. */
export function* fieldFaults(route: Route, good: Good): Generator<Fault> {
  const { all, required } = fieldsOf(route);
  const fields: Fields = good.fields ?? {};
  const path = inPath(route);
  const inQuery = readsQuery(route);
  const send = (name: string, value: unknown): Asked =>
    requestOf(route, { ...good, fields: { ...fields, [name]: value } });
  if (route.limits.bodyBytes > 0 || inQuery)
    for (const name of required.filter((each) => !path.includes(each))) {
      const { [name]: _, ...rest } = fields;
      yield {
        what: `without ${name}`,
        request: requestOf(route, { ...good, fields: rest }),
        refused: true,
        names: name,
      };
    }
  for (const [name, schema] of Object.entries(all)) {
    if (path.includes(name)) continue;
    if (route.limits.bodyBytes === 0 && !inQuery) continue;
    const wrong = (schema.type && WRONG[schema.type]) || [];
    if (!inQuery) {
      for (const value of wrong)
        yield {
          what: `${name} = ${show(value)}`,
          request: send(name, value),
          refused: true,
          names: name,
        };
      for (const value of ODD)
        yield { what: `${name} = ${show(value)}`, request: send(name, value), refused: false };
    } else if (schema.type === 'string')
      yield { what: `${name} twice`, request: send(name, ['a', 'b']), refused: true, names: name };
    else if (schema.type === 'integer' || schema.type === 'number')
      yield { what: `${name} = x`, request: send(name, 'x'), refused: true, names: name };
    if (SIZE.test(name))
      for (const size of SIZES) {
        yield {
          what: `${name} = ${size}`,
          request: send(name, size),
          refused: /[x.a]/i.test(size),
          names: name,
        };
        if (!inQuery && Number.isFinite(Number(size)))
          yield {
            what: `${name} = number ${size}`,
            request: send(name, Number(size)),
            refused: false,
          };
      }
    if (TOKEN.test(name) && name !== 'after')
      for (const token of ['junk', '%%%', '../../x', 'QUFB'.repeat(20), 'a'.repeat(5000), '\u0000'])
        yield { what: `${name} = ${show(token)}`, request: send(name, token), refused: true };
  }
}

/**
 * Every text of the good request, and every optional text beside it, replaced by each of `texts`; of a long list every
 * fifth where the text is nobody's path.
 */
export function* textFaults(
  route: Route,
  good: Good,
  texts: readonly string[],
  strict: boolean,
): Generator<Fault> {
  const { all } = fieldsOf(route);
  const fields: Fields = good.fields ?? {};
  const places = [...textPlaces(fields)];
  for (const [name, schema] of Object.entries(all))
    if (schema.type === 'string' && !(name in fields) && !inPath(route).includes(name))
      places.push([name]);
  const takesBody = !readsQuery(route) && route.limits.bodyBytes > 0;
  for (const place of places) {
    const [first = ''] = place;
    if (!takesBody && !readsQuery(route) && !inPath(route).includes(String(first))) continue;
    const becomesPath = isPath(route, place);
    for (const text of becomesPath
      ? texts
      : texts.filter((_, i) => texts.length < 20 || i % 5 === 0)) {
      if (inPath(route).includes(String(first)) && !addressable(text)) continue;
      const changed = placed(fields, place, text) as Fields;
      yield {
        what: `${place.join('.')} = ${show(text)}`,
        request: requestOf(route, { ...good, fields: changed }),
        refused: becomesPath && strict && !elsewhere(place, text),
      };
    }
  }
}

/** Fields that become a path or a part of one, on every route that has them. */
const PATHS =
  /^(artifact_path|path|folder|artifact_location|artifact_file_path|artifact_directory_path|run_id|run_uuid|model_id|experiment_id|source_run_id|upload_id|pipeline_id|pipeline_version_id|pipelineid|source)$/;
const isPath = (route: Route, place: readonly PropertyKey[]) => {
  const field = String(place.at(-1));
  // A dataset's source and a model that a run names are kept as they are told, and lead nowhere.
  if (place.length > 2) return false;
  // An unknown upload is over already.
  if (route.path.includes('/mpu/abort/') && field === 'upload_id') return false;
  // What a client calls its file is cut down to its last name; old clients' experiment ids are not read at all.
  if (route.path.includes('/mpu/') && field === 'path') return false;
  if (/\/runs\/\{run_id\}/.test(route.path) && field === 'experiment_id') return false;
  // The deprecated twin of run_id is not looked at where run_id is given.
  if (route.path.includes('artifact') && field === 'run_uuid') return false;
  return PATHS.test(field);
};

/** The files of a model version may lie elsewhere; nothing of ours ever reads them there. */
const elsewhere = (place: readonly PropertyKey[], text: string) =>
  place[0] === 'source' && /^(s3|https?):/.test(text);

/** A whole segment of dots is taken out of an address before any server sees it. */
const addressable = (text: string) =>
  text.isWellFormed() &&
  text !== '' &&
  !text.split('/').some((part) => /^(\.|%2e)+$/i.test(part) || part === '');

export const badPaths = BAD_PATHS.map(({ path }) => path);
/** Text that a key, a file name or UTF-8 cannot hold. */
export const badTexts = [
  '',
  ' ',
  '\ud800',
  'a\udfffb',
  '__proto__',
  'constructor',
  '#',
  '\u0000',
  'x'.repeat(2100),
  '\u{1f600}'.repeat(700),
  'x'.repeat(420_000),
];

/** What is wrong with a body as a whole, or with what is said of it. */
export function* bodyFaults(route: Route, good: Good): Generator<Fault> {
  const request = requestOf(route, good);
  const { bodyBytes } = route.limits;
  yield {
    what: 'a body that is declared too large',
    request: {
      ...request,
      headers: { ...request.headers, 'content-length': String(bodyBytes + 1) },
    },
    refused: true,
    names: 'larger than',
  };
  if (good.raw !== undefined || request.body === undefined) return;
  if (bodyBytes <= 2_000_000)
    yield {
      what: 'a body that is too large',
      request: { ...request, body: `${request.body}${' '.repeat(bodyBytes)}` },
      refused: true,
      names: 'larger than',
    };
  const text = String(request.body);
  const rest = text.slice(1);
  const comma = rest === '}' ? '' : ', ';
  const lenient = route.protocol.name === 'mlflow';
  const { required } = fieldsOf(route);
  const needs = required.some((name) => !inPath(route).includes(name));
  const bodies: [what: string, body: string | Uint8Array, refused: boolean][] = [
    ['broken JSON', text.slice(0, -1), !lenient || needs],
    ['a list', '[]', !lenient || needs],
    ['a text', '"x"', !lenient || needs],
    ['null', 'null', !lenient || needs],
    ['a number', '7', !lenient || needs],
    ['nothing', '', false],
    ['a field twice', `{"sweep": 1, "sweep": 2${comma}${rest}`, true],
    ['__proto__', `{"__proto__": {"role": "admin"}${comma}${rest}`, true],
    ['__proto__ further in', `{"sweep": [{"__proto__": {}}]${comma}${rest}`, true],
    ['deep nesting', `{"sweep": ${'['.repeat(100)}${']'.repeat(100)}${comma}${rest}`, true],
    ['constructor', `{"constructor": {"prototype": {"x": 1}}${comma}${rest}`, false],
    ['an unknown field', `{"sweep": 1${comma}${rest}`, false],
    ['a number beyond all', `{"sweep": 1e999${comma}${rest}`, false],
    [
      'no UTF-8',
      Buffer.concat([
        Buffer.from('{"sweep": "'),
        Buffer.from([0xff, 0xc0]),
        Buffer.from(`"${comma}${rest}`),
      ]),
      true,
    ],
    ['UTF-16', Buffer.from(text, 'utf16le'), !lenient || needs],
  ];
  for (const [what, body, refused] of bodies)
    yield { what, request: { ...request, body }, refused };
  for (const type of [
    'text/plain',
    'application/xml',
    'application/json; charset=latin1',
    'multipart/form-data; boundary=x',
  ])
    yield {
      what: `as ${type}`,
      request: { ...request, headers: { 'content-type': type } },
      refused: false,
    };
}

function* textPlaces(
  value: unknown,
  at: readonly PropertyKey[] = [],
): Generator<readonly PropertyKey[]> {
  if (typeof value === 'string') yield at;
  else if (Array.isArray(value))
    for (const [i, item] of value.entries()) yield* textPlaces(item, [...at, i]);
  else if (typeof value === 'object' && value !== null)
    for (const [name, item] of Object.entries(value)) {
      // A compiled pipeline has its own tests; here one text of it is enough.
      if (name !== 'pipeline_spec') yield* textPlaces(item, [...at, name]);
    }
}

function placed(value: unknown, [step, ...more]: readonly PropertyKey[], text: string): unknown {
  if (step === undefined) return text;
  if (Array.isArray(value))
    return value.map((item, i) => (i === step ? placed(item, more, text) : item));
  const held = value as Record<PropertyKey, unknown>;
  return { ...held, [step]: placed(held[step], more, text) };
}

const show = (value: unknown) => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}… (${text.length})` : text;
};

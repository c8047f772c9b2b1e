import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type Fields, fields, isFields, text } from '../assembly/stack/values.ts';

const ROOT = join(import.meta.dirname, '../..');

interface Shape {
  readonly type: string;
  readonly members?: Readonly<Record<string, { readonly shape: string }>>;
  readonly required?: readonly string[];
  readonly member?: { readonly shape: string };
  readonly key?: { readonly shape: string };
  readonly value?: { readonly shape: string };
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly min?: number;
  readonly max?: number;
  readonly union?: boolean;
}

/** The whole site-packages of an oracle's Python, where botocore lies. */
export function sitePackages(venv = join(ROOT, '.cache/oracles/moto-5.2.5')): string {
  const lib = join(venv, 'lib');
  const python = existsSync(lib)
    ? readdirSync(lib).find((name) => name.startsWith('python'))
    : undefined;
  if (!python)
    throw new Error('the oracle moto is not installed: run `node test/oracles/install.ts moto`');
  return join(lib, python, 'site-packages');
}

/**
 * Checks a request against AWS's own model of a service, as botocore publishes it: members, types, required ones,
 * enumerations, patterns, sizes. Answers what is wrong, in AWS's manner, or undefined.
 */
export function serviceModel(service: string, version: string) {
  const file = join(sitePackages(), 'botocore/data', service, version, 'service-2.json.gz');
  const { shapes, operations } = JSON.parse(gunzipSync(readFileSync(file)).toString()) as {
    shapes: Record<string, Shape>;
    operations: Record<string, { input?: { shape: string } }>;
  };

  function wrong(shape: Shape | undefined, value: unknown, path: string): string | undefined {
    if (!shape) return `${path} is of a shape that the model lacks`;
    const of = (name: string, one: unknown, at: string) => wrong(shapes[name], one, at);
    switch (shape.type) {
      case 'structure':
        return structure(shape, value, path, of);
      case 'list': {
        if (!Array.isArray(value)) return `${path} must be a list`;
        const items = value.map((one, at) =>
          of(shape.member?.shape ?? '', one, `${path}.${at + 1}.member`),
        );
        return sized(shape, value.length, path) ?? items.find(Boolean);
      }
      case 'map': {
        if (!isFields(value)) return `${path} must be a map`;
        const entries = Object.entries(value).flatMap(([key, one]) => [
          of(shape.key?.shape ?? '', key, `${path}.key`),
          of(shape.value?.shape ?? '', one, `${path}.${key}`),
        ]);
        return sized(shape, Object.keys(value).length, path) ?? entries.find(Boolean);
      }
      case 'string':
        return typeof value === 'string' ? string(shape, value, path) : `${path} must be a string`;
      case 'boolean':
        return typeof value === 'boolean' ? undefined : `${path} must be a boolean`;
      case 'blob':
        return typeof value === 'string' ? undefined : `${path} must be bytes`;
      case 'timestamp':
        return typeof value === 'number' || typeof value === 'string'
          ? undefined
          : `${path} must be a time`;
      default:
        if (typeof value !== 'number') return `${path} must be a number`;
        if (/integer|long/.test(shape.type) && !Number.isInteger(value))
          return `${path} must be whole`;
        return sized(shape, value, path);
    }
  }

  function structure(
    { members = {}, required = [], union }: Shape,
    value: unknown,
    path: string,
    of: (name: string, one: unknown, at: string) => string | undefined,
  ): string | undefined {
    if (!isFields(value)) return `${path} must be a structure`;
    const given = Object.entries(value).filter(([, one]) => one !== null && one !== undefined);
    for (const name of required)
      if (!given.some(([own]) => own === name))
        return `${path}.${name} failed to satisfy constraint: Member must not be null`;
    if (union && given.length !== 1) return `${path} must have exactly one member`;
    for (const [name, one] of given) {
      const member = Object.hasOwn(members, name) ? members[name] : undefined;
      if (!member) return `${path}.${name} is no member of the request`;
      const found = of(member.shape, one, `${path}.${name}`);
      if (found) return found;
    }
    return undefined;
  }

  return (operation: string, request: Fields): string | undefined => {
    const input = operations[operation]?.input?.shape;
    if (!input) return `${operation} is no operation of ${service}`;
    return wrong(shapes[input], fields(request), operation);
  };
}

function sized({ min, max }: Shape, size: number, path: string): string | undefined {
  if (min !== undefined && size < min)
    return `${path} failed to satisfy constraint: at least ${min}`;
  if (max !== undefined && size > max)
    return `${path} failed to satisfy constraint: at most ${max}`;
  return undefined;
}

function string(shape: Shape, value: string, path: string): string | undefined {
  if (shape.enum && !shape.enum.includes(value))
    return `${path} failed to satisfy constraint: Member must satisfy enum value set: [${shape.enum.slice(0, 8).join(', ')} ..]`;
  if (shape.pattern && !patternOf(text(shape.pattern))?.test(value))
    return `${path} '${value.slice(0, 100)}' failed to satisfy constraint: Member must satisfy regular expression pattern: ${shape.pattern}`;
  return sized(shape, value.length, path);
}

const patterns = new Map<string, RegExp>();
/** Java's names of classes, in ASCII. */
const CLASSES: Readonly<Record<string, string>> = {
  Print: '\\x20-\\x7e',
  ASCII: '\\x00-\\x7f',
  Alnum: 'A-Za-z0-9',
  Graph: '\\x21-\\x7e',
};
const spelledOut = (pattern: string): string =>
  pattern.replace(/\\p\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(CLASSES, name) ? `[${CLASSES[name]}]` : whole,
  );

/** Java's patterns, which match the whole value. One that JavaScript cannot read lets everything through. */
function patternOf(pattern: string): RegExp {
  const known = patterns.get(pattern);
  if (known) return known;
  let made = /^/;
  try {
    made = new RegExp(`^(?:${spelledOut(pattern)})$`, 'u');
  } catch {
    try {
      made = new RegExp(`^(?:${spelledOut(pattern)})$`);
    } catch {
      // lets everything through
    }
  }
  patterns.set(pattern, made);
  return made;
}

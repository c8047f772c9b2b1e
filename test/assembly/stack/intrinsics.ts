import type { Template, Templates } from './assembly.ts';
import { fields, isFields, list, text } from './values.ts';

export const REGION = 'eu-central-1';
export const ACCOUNT = '123456789012';

/** What a resource is once it is made: its `Ref`, and its attributes by name. */
export interface Made {
  readonly ref: string;
  readonly attributes: Readonly<Record<string, string>>;
}

const PSEUDO: Readonly<Record<string, unknown>> = {
  'AWS::AccountId': ACCOUNT,
  'AWS::Region': REGION,
  'AWS::Partition': 'aws',
  'AWS::URLSuffix': 'amazonaws.com',
  'AWS::NoValue': undefined,
};

/**
 * CloudFormation's intrinsic functions over all stacks. `made` names a resource; it may ask for properties itself.
 * An unknown function, reference or export throws, naming where it stands.
 */
export function intrinsics(
  templates: Templates,
  made: (stack: string, id: string, resolve: (value: unknown) => unknown) => Made,
) {
  const memory = new Map<string, Made>();
  const exported = new Map<string, { stack: string; value: unknown }>();

  const templateOf = (stack: string): Template => {
    const template = templates[stack];
    if (!template) throw new Error(`there is no stack ${stack}`);
    return template;
  };

  function makeOf(stack: string, id: string): Made {
    const at = `${stack}/${id}`;
    const known = memory.get(at) ?? made(stack, id, (value) => resolve(stack, value, at));
    memory.set(at, known);
    return known;
  }

  function ref(stack: string, name: string, at: string): unknown {
    if (Object.hasOwn(PSEUDO, name)) return PSEUDO[name];
    if (name === 'AWS::StackName') return stack;
    const { Resources, Parameters = {} } = templateOf(stack);
    if (Object.hasOwn(Resources, name)) return makeOf(stack, name).ref;
    const parameter = Parameters[name];
    if (parameter && Object.hasOwn(parameter, 'Default')) return parameter['Default'];
    throw new Error(`${at} refers to ${name}, which is not in ${stack}`);
  }

  function attribute(stack: string, [id = '', ...path]: readonly string[], at: string): string {
    if (!Object.hasOwn(templateOf(stack).Resources, id))
      throw new Error(`${at} asks for an attribute of ${id}, which is not in ${stack}`);
    const name = path.join('.');
    const value = makeOf(stack, id).attributes[name];
    if (value === undefined)
      throw new Error(`${at} asks for ${id}.${name}, which npm run stack does not support`);
    return value;
  }

  function substituted(stack: string, inner: unknown, at: string): string {
    const [template, given] = Array.isArray(inner)
      ? [text(inner[0]), fields(inner[1])]
      : [text(inner), {}];
    return template.replace(/\$\{(!?)([^}]+)\}/g, (_, literal: string, name: string) => {
      if (literal) return `\${${name}}`;
      if (Object.hasOwn(given, name)) return String(resolve(stack, given[name], at));
      return String(
        name.includes('.') ? attribute(stack, name.split('.'), at) : ref(stack, name, at),
      );
    });
  }

  function condition(stack: string, value: unknown, at: string): boolean {
    if (typeof value === 'string')
      return condition(stack, templateOf(stack).Conditions?.[value], at);
    const [[name, inner] = ['', undefined]] = Object.entries(fields(value));
    const all = list(inner);
    if (name === 'Fn::Equals') return resolve(stack, all[0], at) === resolve(stack, all[1], at);
    if (name === 'Fn::Not') return !condition(stack, all[0], at);
    if (name === 'Fn::And') return all.every((one) => condition(stack, one, at));
    if (name === 'Fn::Or') return all.some((one) => condition(stack, one, at));
    if (name === 'Condition') return condition(stack, inner, at);
    throw new Error(
      `${at} has the condition ${name || String(value)}, which npm run stack does not support`,
    );
  }

  function call(stack: string, name: string, inner: unknown, at: string): unknown {
    const args = () => list(resolve(stack, inner, at));
    switch (name) {
      case 'Ref':
        return ref(stack, text(inner), at);
      case 'Fn::GetAtt':
        return attribute(
          stack,
          typeof inner === 'string' ? inner.split('.') : list(inner).map(text),
          at,
        );
      case 'Fn::Sub':
        return substituted(stack, inner, at);
      case 'Fn::Join': {
        const [separator, parts] = args();
        return list(parts).map(String).join(text(separator));
      }
      case 'Fn::Select': {
        const [index, all] = args();
        return list(all)[Number(index)];
      }
      case 'Fn::Split': {
        const [separator, whole] = args();
        return text(whole).split(text(separator));
      }
      case 'Fn::ImportValue':
        return imported(text(resolve(stack, inner, at)), at);
      case 'Fn::If': {
        const [name, yes, no] = list(inner);
        return resolve(stack, condition(stack, name, at) ? yes : no, at);
      }
      default:
        throw new Error(`${at} has ${name}, which npm run stack does not support`);
    }
  }

  function imported(name: string, at: string): unknown {
    if (exported.size === 0)
      for (const [stack, { Outputs = {} }] of Object.entries(templates))
        for (const { Export, Value } of Object.values(Outputs))
          if (Export)
            exported.set(text(resolve(stack, fields(Export)['Name'], at)), { stack, value: Value });
    const found = exported.get(name);
    if (!found) throw new Error(`${at} imports ${name}, which no stack exports`);
    return resolve(found.stack, found.value, at);
  }

  function resolve(stack: string, value: unknown, at: string): unknown {
    if (Array.isArray(value))
      return value.map((one) => resolve(stack, one, at)).filter((one) => one !== undefined);
    if (!isFields(value)) return value;
    const entries = Object.entries(value);
    const [first] = entries;
    if (entries.length === 1 && first && (first[0] === 'Ref' || first[0].startsWith('Fn::')))
      return call(stack, first[0], first[1], at);
    return Object.fromEntries(
      entries
        .map(([name, inner]) => [name, resolve(stack, inner, at)] as const)
        .filter(([, inner]) => inner !== undefined),
    );
  }

  return { resolve, condition, makeOf };
}

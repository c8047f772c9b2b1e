import type { Json } from '../../functions/kernel/json.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { LIMITS, type StateMachine } from '../../statemachines/asl.ts';
import {
  DEPLOYED,
  EXECUTION_NAME,
  INVOKE,
  RESOURCES,
  RUN_STEP,
} from '../../statemachines/resources.ts';
import {
  assignments,
  checkFields,
  type Fields,
  isFields,
  oneOf,
  orExpression,
  type Report,
  type Rule,
  template,
  text,
  whole,
} from './shapes.ts';

const MAX_DEPTH = 64;
const MAX_SHOWN = 10;
const YEAR_SECONDS = 31_622_400;

/**
 * A machine's text as types, or `invalid` with all that is wrong with it: what Step Functions would refuse, what
 * resources.ts does not list, and what our interpreter cannot run.
 */
export function readMachine(definition: Json): StateMachine {
  const problems: string[] = [];
  const report: Report = (path, problem) => void problems.push(`${path} ${problem}`);
  if (!isFields(definition)) report('definition', 'must be an object');
  else if (depthOf(definition) > MAX_DEPTH)
    report('definition', `nests deeper than ${MAX_DEPTH} levels`);
  else if (Buffer.byteLength(JSON.stringify(definition)) > LIMITS.definitionBytes)
    report('definition', `is larger than ${LIMITS.definitionBytes} bytes`);
  else checkMachine(definition, report);
  if (problems.length === 0) return definition as unknown as StateMachine;
  const more = problems.length - MAX_SHOWN;
  const shown = problems.slice(0, MAX_SHOWN).join('; ') + (more > 0 ? `; and ${more} more` : '');
  throw new Problem('invalid', `This is no state machine that we can run: ${shown}.`, {
    field: 'definition',
  });
}

function depthOf(value: Json, depth = 0): number {
  if (value === null || typeof value !== 'object' || depth > MAX_DEPTH) return depth;
  let deepest = depth;
  for (const item of Object.values(value)) deepest = Math.max(deepest, depthOf(item, depth + 1));
  return deepest;
}

const language: Rule = (value, path, report) => {
  if (value !== 'JSONata') report(path, 'must be JSONata: it is the one language of our machines');
};

function checkMachine(machine: Fields, report: Report) {
  checkFields(
    machine,
    {
      Comment: text(LIMITS.definitionBytes),
      QueryLanguage: language,
      Version: oneOf('1.0'),
      TimeoutSeconds: whole(1, YEAR_SECONDS),
      StartAt: text(LIMITS.nameLength),
      States: anything,
    },
    ['QueryLanguage', 'StartAt', 'States'],
    '',
    report,
  );
  checkScope(machine, '', { names: new Set(), outer: new Set(), report });
}

const anything: Rule = () => undefined;

interface Walk {
  /** Of all states so far: unique in the whole machine. */
  readonly names: Set<string>;
  /** Variables that the scopes around this one assign. */
  readonly outer: ReadonlySet<string>;
  readonly report: Report;
}

function checkScope(scope: Fields, path: string, walk: Walk) {
  const { report } = walk;
  const states = scope['States'];
  const at = path === '' ? 'States' : `${path}.States`;
  if (states === undefined) return;
  if (!isFields(states)) return report(at, 'must be an object of states');
  const own = assignedIn(states);
  for (const name of own)
    if (walk.outer.has(name))
      report(at, `assign $${name}, which belongs to the scope around: choose another name`);
  const inner = { ...walk, outer: new Set([...walk.outer, ...own]) };
  for (const [name, state] of Object.entries(states)) {
    if (name === '' || name.length > LIMITS.nameLength || /\p{Cc}/u.test(name))
      report(`${at}.${name}`, 'has no good name: 1 to 80 characters, none of them control');
    if (walk.names.has(name)) report(`${at}.${name}`, 'has a name that another state has already');
    walk.names.add(name);
    if (isFields(state)) checkState(state, `${at}.${name}`, states, inner);
    else report(`${at}.${name}`, 'must be an object');
  }
  checkReach(scope, states, at, report);
}

/** Every target of every state, as the path that names it and the name. */
function targetsOf(state: Fields): [string, Json][] {
  const targets: [string, Json][] = [];
  if (state['Next'] !== undefined) targets.push(['Next', state['Next']]);
  if (state['Default'] !== undefined) targets.push(['Default', state['Default']]);
  for (const list of ['Choices', 'Catch'])
    if (Array.isArray(state[list]))
      state[list].forEach((each, i) => {
        if (isFields(each) && each['Next'] !== undefined)
          targets.push([`${list}[${i}].Next`, each['Next']]);
      });
  return targets;
}

function checkReach(scope: Fields, states: Fields, at: string, report: Report) {
  const start = scope['StartAt'];
  const seen = new Set<string>();
  const waiting: Json[] = [start ?? null];
  if (typeof start === 'string' && !Object.hasOwn(states, start))
    return report(at.replace(/States$/, 'StartAt'), `names '${start}', which is not a state here`);
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const state = typeof name === 'string' && Object.hasOwn(states, name) ? states[name] : null;
    if (typeof name !== 'string' || seen.has(name) || !isFields(state)) continue;
    seen.add(name);
    for (const [, target] of targetsOf(state)) waiting.push(target);
  }
  for (const name of Object.keys(states))
    if (!seen.has(name)) report(`${at}.${name}`, 'can never be reached from StartAt');
}

/** The variables that states of this scope, not of scopes within, assign. */
function assignedIn(states: Fields): Set<string> {
  const names = new Set<string>();
  const add = (holder: Json | undefined) => {
    if (isFields(holder) && isFields(holder['Assign']))
      for (const name of Object.keys(holder['Assign'])) names.add(name);
  };
  for (const state of Object.values(states)) {
    add(state);
    if (!isFields(state)) continue;
    for (const list of [state['Catch'], state['Choices']])
      if (Array.isArray(list)) for (const each of list) add(each);
  }
  return names;
}

const entry = { Type: anything, Comment: text(LIMITS.definitionBytes), QueryLanguage: language };
const plain = { Output: template({}), Assign: assignments({}) };
const produces = { Output: template({ result: true }), Assign: assignments({ result: true }) };
const onward = {
  Next: text(LIMITS.nameLength),
  End: ((value, path, report) => {
    if (value !== true) report(path, 'must be true, or be left out');
  }) satisfies Rule,
};

const guarded = {
  Retry: list((value, path, report) => {
    const rules = {
      ErrorEquals: errorNames,
      Comment: anything,
      IntervalSeconds: whole(1, 99_999_999),
      MaxAttempts: whole(0, 99_999_999),
      MaxDelaySeconds: whole(1, YEAR_SECONDS - 1),
      JitterStrategy: oneOf('FULL', 'NONE'),
      BackoffRate: ((rate, at) => {
        if (typeof rate !== 'number' || rate < 1) report(at, 'must be a number of at least 1');
      }) satisfies Rule,
    };
    checkFields(value, rules, ['ErrorEquals'], path, report);
    const { IntervalSeconds = 1, MaxDelaySeconds } = value as {
      IntervalSeconds?: number;
      MaxDelaySeconds?: number;
    };
    if (typeof MaxDelaySeconds === 'number' && MaxDelaySeconds <= Number(IntervalSeconds))
      report(`${path}.MaxDelaySeconds`, 'must be greater than IntervalSeconds');
  }),
  Catch: list((value, path, report) => {
    const sees = { errorOutput: true };
    const rules = {
      ErrorEquals: errorNames,
      Comment: anything,
      Next: text(LIMITS.nameLength),
      Output: template(sees),
      Assign: assignments(sees),
    };
    checkFields(value, rules, ['ErrorEquals', 'Next'], path, report);
  }),
};

const RULES: { readonly [type: string]: { readonly [field: string]: Rule } } = {
  Task: {
    ...entry,
    ...guarded,
    ...produces,
    ...onward,
    Resource: anything,
    Arguments: template({}),
    TimeoutSeconds: orExpression(whole(1, 99_999_999)),
  },
  Pass: { ...entry, ...plain, ...onward },
  Choice: {
    ...entry,
    ...plain,
    Default: text(LIMITS.nameLength),
    Choices: list((value, path, report) => {
      const rules = {
        Comment: anything,
        Condition: orExpression((given, at) => {
          if (typeof given !== 'boolean') report(at, 'must be an expression, true or false');
        }),
        Next: text(LIMITS.nameLength),
        ...plain,
      };
      checkFields(value, rules, ['Condition', 'Next'], path, report);
    }),
  },
  Wait: {
    ...entry,
    ...plain,
    ...onward,
    Seconds: orExpression(whole(0, 99_999_999)),
    Timestamp: orExpression((value, path, report) => {
      if (typeof value !== 'string' || readTimestamp(value) === undefined)
        report(path, 'must be a time as in 2026-01-31T12:00:00Z');
    }),
  },
  Succeed: { ...entry, Output: template({}) },
  Fail: { ...entry, Error: orExpression(text(256)), Cause: orExpression(text(32_768)) },
  Parallel: {
    ...entry,
    ...guarded,
    ...produces,
    ...onward,
    Arguments: template({}),
    Branches: anything,
  },
  Map: {
    ...entry,
    ...guarded,
    ...produces,
    ...onward,
    Items: (value, path, report) => {
      if (Array.isArray(value)) template({})(value, path, report);
      else orExpression(() => report(path, 'must be a list or an expression'))(value, path, report);
    },
    ItemSelector: template({}),
    ItemProcessor: anything,
    MaxConcurrency: orExpression(whole(0, 99_999_999)),
  },
};

const REQUIRED: { readonly [type: string]: readonly string[] } = {
  Task: ['Resource'],
  Choice: ['Choices'],
  Parallel: ['Branches'],
  Map: ['ItemProcessor'],
};

function list(each: (value: Fields, path: string, report: Report) => void): Rule {
  return (value, path, report) => {
    if (!Array.isArray(value)) return report(path, 'must be a list');
    value.forEach((item, i) => {
      if (isFields(item)) each(item, `${path}[${i}]`, report);
      else report(`${path}[${i}]`, 'must be an object');
    });
  };
}

function errorNames(value: Json, path: string, report: Report) {
  if (!Array.isArray(value) || !value.length || value.some((name) => typeof name !== 'string'))
    return report(path, 'must be a list of error names');
  if (value.includes('States.ALL') && value.length > 1)
    report(path, 'must hold States.ALL alone: it takes every error');
}

function checkState(state: Fields, path: string, siblings: Fields, walk: Walk) {
  const { report } = walk;
  const type = state['Type'];
  const rules = typeof type === 'string' && Object.hasOwn(RULES, type) ? RULES[type] : undefined;
  if (typeof type !== 'string' || !rules)
    return report(`${path}.Type`, `must be one of ${Object.keys(RULES).join(', ')}`);
  checkFields(state, rules, REQUIRED[type] ?? [], path, report);
  if ('Next' in rules && ('Next' in state ? 1 : 0) + ('End' in state ? 1 : 0) !== 1)
    report(path, 'needs either Next or End');
  for (const [field, target] of targetsOf(state))
    if (typeof target === 'string' && !Object.hasOwn(siblings, target))
      report(`${path}.${field}`, `names '${target}', which is not a state here`);
  for (const field of ['Retry', 'Catch']) checkOrder(state[field], `${path}.${field}`, report);
  if (type === 'Choice' && Array.isArray(state['Choices']) && !state['Choices'].length)
    report(`${path}.Choices`, 'must hold a rule');
  if (type === 'Wait' && 'Seconds' in state === 'Timestamp' in state)
    report(path, 'needs either Seconds or Timestamp');
  if (type === 'Task') checkResource(state, path, report);
  if (type === 'Parallel') checkBranches(state, path, walk);
  if (type === 'Map') checkProcessor(state, path, walk);
}

/** States.ALL would hide what follows it. */
function checkOrder(value: Json | undefined, path: string, report: Report) {
  if (!Array.isArray(value)) return;
  value.slice(0, -1).forEach((each, i) => {
    const names = isFields(each) ? each['ErrorEquals'] : undefined;
    if (Array.isArray(names) && names.includes('States.ALL'))
      report(`${path}[${i}]`, 'takes States.ALL and must be the last');
  });
}

function checkResource(state: Fields, path: string, report: Report) {
  const { Resource, Arguments = {} } = state;
  const known = RESOURCES.find(({ arn }) => arn === Resource);
  if (!known)
    return report(
      `${path}.Resource`,
      `is not among what our machines may call: ${RESOURCES.map(({ arn }) => arn).join(', ')}`,
    );
  if (!isFields(Arguments)) return;
  for (const field of known.requires)
    if (!Object.hasOwn(Arguments, field)) report(`${path}.Arguments`, `needs the field ${field}`);
  if (Resource === INVOKE) checkInvoke(Arguments, `${path}.Arguments`, report);
}

/** A function learns whose execution it works for from the payload, so only the engine may say it. */
function checkInvoke(args: Fields, path: string, report: Report) {
  const { FunctionName, Payload } = args;
  if (FunctionName === undefined || Payload === undefined) return;
  if (typeof FunctionName !== 'string' || !/^[a-z0-9-]{1,64}$/.test(FunctionName))
    return report(`${path}.FunctionName`, `must be written out, such as ${DEPLOYED}begin-task`);
  if (!FunctionName.startsWith(DEPLOYED))
    return report(`${path}.FunctionName`, `must start with ${DEPLOYED}`);
  // An expression is held to it when it has been evaluated: integrations.ts.
  if (isFields(Payload) && !Object.hasOwn(Payload, 'execution') && FunctionName !== RUN_STEP)
    report(`${path}.Payload`, `needs "execution": "${EXECUTION_NAME}"`);
}

function checkBranches(state: Fields, path: string, walk: Walk) {
  const branches = state['Branches'];
  if (branches === undefined) return;
  if (!Array.isArray(branches) || branches.length === 0)
    return walk.report(`${path}.Branches`, 'must be a list of at least one branch');
  for (const [i, branch] of branches.entries())
    checkInner(branch, `${path}.Branches[${i}]`, {}, walk);
}

function checkProcessor(state: Fields, path: string, walk: Walk) {
  const config: Rule = (value, at, report) => {
    if (!isFields(value)) report(at, 'must be an object');
    else checkFields(value, { Mode: oneOf('INLINE') }, [], at, report);
  };
  if (state['ItemProcessor'] !== undefined)
    checkInner(state['ItemProcessor'], `${path}.ItemProcessor`, { ProcessorConfig: config }, walk);
}

function checkInner(
  scope: Json,
  path: string,
  extra: { readonly [field: string]: Rule },
  walk: Walk,
) {
  if (!isFields(scope)) return walk.report(path, 'must be an object');
  const rules = {
    Comment: anything,
    QueryLanguage: language,
    StartAt: text(LIMITS.nameLength),
    States: anything,
    ...extra,
  };
  checkFields(scope, rules, ['StartAt', 'States'], path, walk.report);
  checkScope(scope, path, walk);
}

/** RFC 3339 with upper-case T and Z, in milliseconds since the epoch. */
export function readTimestamp(value: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(value)) return undefined;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : at;
}

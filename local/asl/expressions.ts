import type jsonata from 'jsonata';
import { bodyOf, parse } from './jsonata.ts';

/** Which parts of `$states` beside input and context an expression may name where it stands. */
export interface Sees {
  readonly result?: boolean;
  readonly errorOutput?: boolean;
}

/** The parser's node, as far as we look into it. */
interface Node {
  readonly type?: string;
  readonly value?: unknown;
  readonly steps?: readonly Node[];
  readonly procedure?: Node;
}

/** What is wrong with an expression where it stands, before it ever runs. */
export function expressionProblems(expression: string, sees: Sees): string[] {
  let tree: jsonata.ExprNode;
  try {
    tree = parse(bodyOf(expression));
  } catch (error) {
    return [`is no valid JSONata: ${(error as Error).message}`];
  }
  const problems = new Set<string>();
  walk(tree as Node, true, (node, free) => {
    const why = nodeProblem(node, free, sees);
    if (why) problems.add(why);
  });
  return [...problems];
}

function nodeProblem(node: Node, free: boolean, sees: Sees): string | undefined {
  if (node.type === 'variable') {
    if (node.value === 'eval') return 'calls $eval, which machines may not';
    if (node.value === '$') return 'names $$, and there is no root here: start from $states.input';
    if (node.value === '' && free)
      return 'names $ outside any path, and there is no context here: start from $states.input';
  }
  const [first, second] = node.type === 'path' ? (node.steps ?? []) : [];
  if (first?.type === 'name' && free)
    return `names the field '${String(first.value)}' of nothing: start from $states.input or a variable`;
  if (first?.type !== 'variable' || first.value !== 'states' || second?.type !== 'name')
    return undefined;
  const part = String(second.value);
  if (part === 'input' || part === 'context') return undefined;
  if (part === 'result')
    return sees.result ? undefined : 'names $states.result, which exists only once a task is done';
  if (part === 'errorOutput')
    return sees.errorOutput ? undefined : 'names $states.errorOutput, which exists only in a Catch';
  return `names $states.${part}: there are input, result, errorOutput and context`;
}

/** Keys of nodes under which a context item exists: a name there belongs to it. */
const BOUND = new Set(['predicate', 'stages', 'group', 'pattern', 'update', 'delete', 'terms']);

/** Every node with whether it stands where there is no context item. Lambdas are left alone: their callers decide. */
function walk(node: unknown, free: boolean, see: (node: Node, free: boolean) => void) {
  if (typeof node !== 'object' || node === null) return;
  if (Array.isArray(node)) {
    for (const item of node) walk(item, free, see);
    return;
  }
  const typed = node as Node & Record<string, unknown>;
  if (typeof typed.type === 'string') see(typed, free);
  for (const [key, child] of Object.entries(typed)) {
    if (key === 'steps' && Array.isArray(child)) {
      // The first step is looked at through its path; the later ones have a context.
      walkSteps(child, free, see);
    } else {
      const inside = free && !BOUND.has(key) && typed.type !== 'lambda';
      walk(child, inside, see);
    }
  }
}

function walkSteps(
  steps: readonly unknown[],
  free: boolean,
  see: (node: Node, free: boolean) => void,
) {
  for (const [i, step] of steps.entries()) walk(step, free && i === 0, see);
}

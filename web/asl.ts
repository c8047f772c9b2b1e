import type { StateSeen } from '../functions/platform/states.ts';

/** What the page reads of a state; anything else in a definition is left alone. */
export interface AslState {
  readonly Type: string;
  readonly Comment?: string;
  readonly Next?: string;
  readonly Default?: string;
  readonly Choices?: readonly { readonly Next?: string }[];
  readonly Catch?: readonly { readonly Next?: string }[];
  readonly Branches?: readonly AslScope[];
  readonly ItemProcessor?: AslScope;
  readonly Iterator?: AslScope;
}
export interface AslScope {
  readonly StartAt: string;
  readonly States: Readonly<Record<string, AslState>>;
}

export interface Node {
  readonly id: string;
  readonly label: string;
  readonly kind: 'task' | 'choice' | 'group' | 'end';
  /** The state's own type, as ASL names it. */
  readonly type: string;
  /** The states it stands for, in the order in which they run. */
  readonly states: readonly string[];
  readonly branches: readonly Graph[];
}
export interface Edge {
  readonly from: string;
  readonly to: string;
  readonly caught: boolean;
}
export interface Graph {
  readonly start: string;
  readonly nodes: readonly Node[];
  readonly edges: readonly Edge[];
}

export type Status = 'idle' | 'running' | 'succeeded' | 'cached' | 'failed' | 'skipped' | 'stopped';
export interface TaskSeen {
  readonly id: string;
  readonly title: string;
  readonly state: string;
  readonly why: string;
}
export interface Lit {
  readonly status: Status;
  readonly enteredAt?: number;
  readonly exitedAt?: number;
  readonly why?: string;
  /** Of each of the node's states. */
  readonly parts: readonly Status[];
}

/** The last two only where it has a retry policy. */
const PARTS = ['', '.choice', '.run', '.done', '.again', '.wait'];

/** A scope as a graph. `folded`: the states of a pipeline's task are one node, as a person thinks of it. */
export function readGraph(scope: AslScope, folded: boolean): Graph {
  const own = (name: string) =>
    Object.hasOwn(scope.States, name) ? scope.States[name] : undefined;
  const names = Object.keys(scope.States);
  const home = new Map<string, string>(names.map((name) => [name, name]));
  for (const name of folded ? names : []) {
    const parts = PARTS.map((part) => name + part);
    if (own(name)?.Next === parts[1] && parts.slice(0, 4).every(own))
      for (const part of parts) home.set(part, name);
  }
  const nodes: Node[] = [];
  const edges = new Map<string, Edge>();
  for (const name of names) {
    const state = own(name);
    const from = home.get(name);
    if (!state || from === undefined) continue;
    if (from === name) {
      const states = names.filter((other) => home.get(other) === name);
      nodes.push(nodeOf(name, state, states, folded));
    }
    for (const { to: target, caught } of exits(state)) {
      const to = home.get(target);
      if (to === undefined || to === from) continue;
      const key = `${from}\n${to}`;
      edges.set(key, { from, to, caught: caught && (edges.get(key)?.caught ?? true) });
    }
  }
  return { start: home.get(scope.StartAt) ?? scope.StartAt, nodes, edges: [...edges.values()] };
}

function exits(state: AslState): { to: string; caught: boolean }[] {
  const found: { to: string; caught: boolean }[] = [];
  const add = (to: string | undefined, caught: boolean) => {
    if (typeof to === 'string') found.push({ to, caught });
  };
  add(state.Next, false);
  for (const choice of state.Choices ?? []) add(choice.Next, false);
  add(state.Default, false);
  for (const caught of state.Catch ?? []) add(caught.Next, true);
  return found;
}

function nodeOf(id: string, state: AslState, states: string[], folded: boolean): Node {
  const inside = state.ItemProcessor ?? state.Iterator;
  const branches = [...(state.Branches ?? []), ...(inside ? [inside] : [])];
  const end = state.Type === 'Succeed' || state.Type === 'Fail';
  return {
    id,
    label: id,
    kind: branches.length ? 'group' : state.Type === 'Choice' ? 'choice' : end ? 'end' : 'task',
    type: state.Type,
    states,
    branches: branches.map((branch) => readGraph(branch, folded)),
  };
}

const TASK_STATUS: Readonly<Record<string, Status>> = {
  RUNNING: 'running',
  SUCCEEDED: 'succeeded',
  CACHED: 'cached',
  SKIPPED: 'skipped',
  FAILED: 'failed',
  CANCELED: 'stopped',
};

/** How each node of a graph stands, by its id. `over`: the execution has ended, so nothing can still run. */
export function lightUp(
  graph: Graph,
  history: readonly StateSeen[],
  tasks: readonly TaskSeen[],
  over: boolean,
): Map<string, Lit> {
  const seen = new Map(history.map((state) => [state.name, state]));
  const byTask = new Map(tasks.map((task) => [task.id, task]));
  const lit = new Map<string, Lit>();
  const statusOf = (name: string): Status => {
    const status = seen.get(name)?.status ?? 'idle';
    return over && status === 'running' ? 'stopped' : status;
  };
  const visit = (node: Node) => {
    const parts = node.states.map(statusOf);
    const found = node.states.flatMap((name) => seen.get(name) ?? []);
    const task = node.states.length > 1 ? byTask.get(node.id) : undefined;
    const named = task && found.length ? TASK_STATUS[task.state] : undefined;
    const last = found.at(-1);
    const settled = named === 'running' && over ? 'stopped' : named;
    const status = settled ?? together(parts);
    lit.set(node.id, {
      status,
      parts,
      ...(found[0] ? { enteredAt: found[0].enteredAt } : {}),
      ...(status !== 'running' && last?.exitedAt !== undefined ? { exitedAt: last.exitedAt } : {}),
      ...(task?.why ? { why: task.why } : {}),
    });
    for (const branch of node.branches) branch.nodes.forEach(visit);
  };
  graph.nodes.forEach(visit);
  return lit;
}

function together(parts: readonly Status[]): Status {
  const entered = parts.filter((part) => part !== 'idle');
  for (const status of ['stopped', 'failed', 'running'] as const)
    if (entered.includes(status)) return status;
  if (!entered.length) return 'idle';
  return parts.at(-1) === 'succeeded' ? 'succeeded' : 'running';
}

/** Whether an execution has gone along an edge: it left one state and entered the other in the same moment. */
export function taken(edge: Edge, lit: ReadonlyMap<string, Lit>): boolean {
  const from = lit.get(edge.from);
  const to = lit.get(edge.to);
  if (from?.exitedAt === undefined || to?.enteredAt === undefined) return false;
  if (edge.caught) return from.status === 'failed';
  return Math.abs(to.enteredAt - from.exitedAt) < 100;
}

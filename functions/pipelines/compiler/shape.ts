/** A graph of tasks as Step Functions can draw it: an id, a chain, or branches side by side. */
export type Shape =
  | string
  | { readonly series: readonly Shape[] }
  | { readonly parallel: readonly Shape[] };

export interface Shaped {
  readonly shape: Shape;
  /** Tasks that wait for more than they need, since the graph is no series-parallel one; each with what for. */
  readonly waits: readonly { readonly task: string; readonly also: readonly string[] }[];
}

/**
 * Splits a graph into series and parallel parts: disconnected under "one must precede the other" is parallel,
 * disconnected under its complement is a series. What can be split neither way holds an N (a before c and d, b before d
 * only); there its first tasks become a barrier, which delays but never reorders.
 * `needs` maps every id to the ids it waits for, in topological order. O(n^2) for each level of nesting.
 * Source: Valdes, Tarjan, Lawler, "The recognition of series parallel digraphs" (1982).
 */
export function shapeOf(needs: ReadonlyMap<string, readonly string[]>): Shaped {
  const ids = [...needs.keys()];
  const before = ancestors(needs);
  const waits: { task: string; also: string[] }[] = [];
  const precedes = (a: string, b: string) => before.get(b)?.has(a) ?? false;
  const ordered = (a: string, b: string) => precedes(a, b) || precedes(b, a);

  function split(part: readonly string[]): Shape {
    const [only, ...more] = part;
    if (only !== undefined && !more.length) return only;
    const apart = groups(part, ordered);
    if (apart.length > 1) return { parallel: apart.map(split) };
    const chain = groups(part, (a, b) => !ordered(a, b));
    if (chain.length > 1) {
      chain.sort(([a = ''], [b = '']) => (precedes(a, b) ? -1 : 1));
      return { series: chain.map(split) };
    }
    const first = part.filter((id) => !part.some((other) => precedes(other, id)));
    const rest = part.filter((id) => !first.includes(id));
    for (const task of rest) {
      const also = first.filter((id) => !precedes(id, task));
      if (also.length) waits.push({ task, also });
    }
    const tail = split(rest);
    return { series: [split(first), ...(isSeries(tail) ? tail.series : [tail])] };
  }
  return { shape: split(ids), waits };
}

const isSeries = (shape: Shape): shape is { series: readonly Shape[] } =>
  typeof shape === 'object' && 'series' in shape;

function ancestors(needs: ReadonlyMap<string, readonly string[]>) {
  const before = new Map<string, Set<string>>();
  for (const [id, direct] of needs) {
    const all = new Set(direct);
    for (const other of direct) for (const further of before.get(other) ?? []) all.add(further);
    before.set(id, all);
  }
  return before;
}

/** Connected groups, each and all in the order given. */
function groups(ids: readonly string[], joined: (a: string, b: string) => boolean): string[][] {
  const left = new Set(ids);
  const found: string[][] = [];
  for (const start of ids) {
    if (!left.delete(start)) continue;
    const group = [start];
    for (const one of group)
      for (const other of left)
        if (joined(one, other)) {
          left.delete(other);
          group.push(other);
        }
    const members = new Set(group);
    found.push(ids.filter((id) => members.has(id)));
  }
  return found;
}

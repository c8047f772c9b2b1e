import type { Edge, Graph, Node } from './asl.ts';

/** Pixels; y grows downwards. */
export interface PlacedNode {
  readonly node: Node;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly inside: readonly Placed[];
}
export interface PlacedEdge {
  readonly edge: Edge;
  /** An SVG path, and the point and direction (1 down, -1 up) of its arrow head. */
  readonly path: string;
  readonly tip: { readonly x: number; readonly y: number; readonly down: 1 | -1 };
}
export interface Placed {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly nodes: readonly PlacedNode[];
  readonly edges: readonly PlacedEdge[];
}

export const SIZES = {
  letter: 7,
  node: { least: 128, most: 240, height: 48, aside: 48 },
  small: 36,
  gap: { across: 28, down: 38 },
  group: { title: 28, pad: 16, gap: 20, most: 1120 },
} as const;

/** A box of the layered graph: a node, or a bend of an edge that passes a layer. */
interface Box {
  readonly node: Node | undefined;
  readonly width: number;
  readonly height: number;
  readonly inside: readonly Placed[];
  layer: number;
  x: number;
  up: Box[];
  down: Box[];
}

/**
 * Places a graph in layers from top to bottom: each state below all that lead to it, bends where an edge passes a
 * layer, layers ordered for few crossings, and boxes as near to the middle of their neighbours as their row allows.
 */
export function place(graph: Graph): Placed {
  const boxes = new Map(graph.nodes.map((node) => [node.id, boxOf(node)]));
  const forward = turned(graph);
  layer(boxes, forward);
  const routes = forward.map((link) => ({ ...link, bends: bendsOf(link, boxes) }));
  const layers = order(boxes, routes);
  spread(layers);
  return measured(layers, boxes, routes);
}

function boxOf(node: Node): Box {
  const { node: leaf, small, letter } = SIZES;
  const blank = { node, layer: 0, x: 0, up: [], down: [] };
  if (node.branches.length) {
    const { inside, width, height } = packed(node);
    return { ...blank, inside, width, height };
  }
  const wanted = Math.min([...node.label].length, 27) * letter + leaf.aside;
  const width = Math.max(leaf.least, Math.min(leaf.most, wanted));
  return { ...blank, inside: [], width, height: node.kind === 'task' ? leaf.height : small };
}

/** Branches stand side by side and wrap into rows: nothing leads from one to another. */
function packed(node: Node): { inside: Placed[]; width: number; height: number } {
  const { title, pad, gap, most } = SIZES.group;
  const inside: Placed[] = [];
  let [x, y, row, widest] = [pad, title + pad / 2, 0, 0];
  for (const branch of node.branches.map(place)) {
    if (x > pad && x + branch.width > most) [x, y, row] = [pad, y + row + gap, 0];
    inside.push({ ...branch, x, y });
    x += branch.width + gap;
    row = Math.max(row, branch.height);
    widest = Math.max(widest, x - gap + pad);
  }
  const named = [...node.label].length * SIZES.letter + 2 * pad;
  return { inside, width: Math.max(widest, named), height: y + row + pad };
}

interface Link {
  readonly edge: Edge;
  readonly from: string;
  readonly to: string;
  readonly back: boolean;
}

/** Every edge as it points downwards: those that lead back (a loop) are turned round. */
function turned(graph: Graph): Link[] {
  const seen = new Map<string, 'open' | 'done'>();
  const links: Link[] = [];
  const visit = (id: string): void => {
    if (seen.has(id)) return;
    seen.set(id, 'open');
    for (const edge of graph.edges) {
      if (edge.from !== id) continue;
      const { to } = edge;
      visit(to);
      const back = seen.get(to) === 'open';
      if (to !== id)
        links.push(back ? { edge, from: to, to: id, back } : { edge, from: id, to, back });
    }
    seen.set(id, 'done');
  };
  for (const id of [graph.start, ...graph.nodes.map(({ id }) => id)]) visit(id);
  return links;
}

/** The longest way from the top. */
function layer(boxes: ReadonlyMap<string, Box>, links: readonly Link[]): void {
  const known = new Map<string, number>();
  const depth = (id: string): number => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const above = links.filter(({ to }) => to === id).map(({ from }) => depth(from) + 1);
    const own = Math.max(0, ...above);
    known.set(id, own);
    return own;
  };
  for (const [id, box] of boxes) box.layer = depth(id);
}

function bendsOf({ from, to }: Link, boxes: ReadonlyMap<string, Box>): Box[] {
  const [top, bottom] = [boxes.get(from), boxes.get(to)];
  if (!top || !bottom) return [];
  const chain = [top];
  for (let at = top.layer + 1; at < bottom.layer; at++)
    chain.push({
      node: undefined,
      width: 14,
      height: 0,
      inside: [],
      layer: at,
      x: 0,
      up: [],
      down: [],
    });
  chain.push(bottom);
  for (const [at, box] of chain.entries()) {
    const after = chain[at + 1];
    if (!after) continue;
    box.down.push(after);
    after.up.push(box);
  }
  return chain;
}

type Route = Link & { readonly bends: readonly Box[] };

/** Rows of boxes, each ordered by the middle of its neighbours; the best of some sweeps is kept. */
function order(boxes: ReadonlyMap<string, Box>, routes: readonly Route[]): Box[][] {
  const all = new Set<Box>(boxes.values());
  for (const route of routes) for (const box of route.bends) all.add(box);
  let rows: Box[][] = [];
  for (const box of all) {
    const row = rows[box.layer] ?? [];
    rows[box.layer] = [...row, box];
  }
  rows = rows.filter(Boolean);
  let best = rows.map((row) => [...row]);
  let fewest = crossings(best);
  for (let sweep = 0; sweep < 8 && fewest > 0; sweep++) {
    const downwards = sweep % 2 === 0;
    for (const row of downwards ? rows : [...rows].reverse()) sortRow(row, rows, downwards);
    const count = crossings(rows);
    if (count < fewest) [best, fewest] = [rows.map((row) => [...row]), count];
  }
  return best;
}

function sortRow(row: Box[], rows: readonly Box[][], downwards: boolean): void {
  const place = new Map<Box, number>();
  for (const other of rows) for (const [at, box] of other.entries()) place.set(box, at);
  const middle = new Map(
    row.map((box) => {
      const near = downwards ? box.up : box.down;
      const sum = near.reduce((total, other) => total + (place.get(other) ?? 0), 0);
      return [box, near.length ? sum / near.length : (place.get(box) ?? 0)];
    }),
  );
  row.sort((a, b) => (middle.get(a) ?? 0) - (middle.get(b) ?? 0));
}

/** How many pairs of edges between neighbouring rows cross. */
function crossings(rows: readonly Box[][]): number {
  let count = 0;
  for (const [at, row] of rows.entries()) {
    const below = new Map((rows[at + 1] ?? []).map((box, index) => [box, index]));
    const ends = row.flatMap((box) =>
      box.down.map((other) => below.get(other) ?? 0).sort((a, b) => a - b),
    );
    for (let left = 0; left < ends.length; left++)
      for (let right = left + 1; right < ends.length; right++)
        if ((ends[left] ?? 0) > (ends[right] ?? 0)) count++;
  }
  return count;
}

/** Gives each box its middle: rows are pulled to their neighbours above, then below, a few times. */
function spread(rows: readonly Box[][]): void {
  for (const row of rows)
    settle(
      row,
      row.map(() => 0),
    );
  for (let round = 0; round < 6; round++) {
    const downwards = round % 2 === 0;
    for (const row of downwards ? rows : [...rows].reverse())
      settle(
        row,
        row.map((box) => {
          const near = downwards ? box.up : box.down;
          return near.length ? pulled(box, near) : box.x;
        }),
      );
  }
}

/** The middle of its neighbours; a line that passes rows stays straight, and boxes stand below each other. */
function pulled(box: Box, near: readonly Box[]): number {
  const weight = (other: Box) => (box.node && other.node ? 4 : box.node || other.node ? 1 : 8);
  const total = near.reduce((sum, other) => sum + weight(other), 0);
  return near.reduce((sum, other) => sum + weight(other) * other.x, 0) / total;
}

/** The positions nearest to those wanted (least squares) that keep the row's order and gaps: pooled neighbours. */
export function settle(
  row: readonly { width: number; x: number }[],
  wanted: readonly number[],
): void {
  const offsets: number[] = [];
  let offset = 0;
  for (const [at, box] of row.entries()) {
    const before = row[at - 1];
    if (before) offset += before.width / 2 + SIZES.gap.across + box.width / 2;
    offsets.push(offset);
  }
  const pools: { mean: number; size: number }[] = [];
  for (const at of row.keys()) {
    let pool = { mean: (wanted[at] ?? 0) - (offsets[at] ?? 0), size: 1 };
    for (let last = pools.at(-1); last && last.mean > pool.mean; last = pools.at(-1)) {
      const size = last.size + pool.size;
      pool = { mean: (last.mean * last.size + pool.mean * pool.size) / size, size };
      pools.pop();
    }
    pools.push(pool);
  }
  let at = 0;
  for (const { mean, size } of pools)
    for (let taken = 0; taken < size; taken++, at++) {
      const box = row[at];
      if (box) box.x = mean + (offsets[at] ?? 0);
    }
}

function measured(
  rows: readonly Box[][],
  boxes: ReadonlyMap<string, Box>,
  routes: readonly Route[],
): Placed {
  const left = Math.min(...rows.flat().map((box) => box.x - box.width / 2));
  const right = Math.max(...rows.flat().map((box) => box.x + box.width / 2));
  const tops: number[] = [];
  const heights = rows.map((row) => Math.max(0, ...row.map((box) => box.height)));
  let y = 0;
  for (const height of heights) {
    tops.push(y);
    y += height + SIZES.gap.down;
  }
  const band = (box: Box) => {
    const [top, height] = [tops[box.layer] ?? 0, heights[box.layer] ?? 0];
    const inset = box.node ? (height - box.height) / 2 : 0;
    return { x: box.x - left, top: top + inset, bottom: top + height - inset };
  };
  return {
    x: 0,
    y: 0,
    width: rows.length ? right - left : 0,
    height: Math.max(0, y - SIZES.gap.down),
    nodes: [...boxes.values()].flatMap((box) =>
      box.node
        ? {
            node: box.node,
            x: box.x - left - box.width / 2,
            y: band(box).top,
            width: box.width,
            height: box.height,
            inside: box.inside,
          }
        : [],
    ),
    edges: routes.map(({ edge, back, bends }) => drawn(edge, back, bends.map(band))),
  };
}

interface Band {
  readonly x: number;
  readonly top: number;
  readonly bottom: number;
}

/** A line through the bends, upright where it leaves and enters; short of the box by the head of its arrow. */
function drawn(edge: Edge, back: boolean, bands: readonly Band[]): PlacedEdge {
  const n = (value: number) => Number(value.toFixed(1));
  const HEAD = 7;
  const first = bands[0] ?? { x: 0, top: 0, bottom: 0 };
  const last = bands.at(-1) ?? first;
  let path = `M${n(first.x)} ${n(first.bottom + (back ? HEAD : 0))}`;
  let from = { x: first.x, y: first.bottom + (back ? HEAD : 0) };
  for (const band of bands.slice(1)) {
    const end = band === last ? band.top - (back ? 0 : HEAD) : band.top;
    const half = (from.y + end) / 2;
    path +=
      Math.abs(from.x - band.x) < 0.5
        ? `V${n(end)}`
        : `C${n(from.x)} ${n(half)} ${n(band.x)} ${n(half)} ${n(band.x)} ${n(end)}`;
    if (band !== last) path += `V${n(band.bottom)}`;
    from = { x: band.x, y: band.bottom };
  }
  const tip = back
    ? { x: n(first.x), y: n(first.bottom), down: -1 as const }
    : { x: n(last.x), y: n(last.top), down: 1 as const };
  return { edge, path, tip };
}

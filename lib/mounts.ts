/** One route of the gateway: a request that it matches goes to this room's Lambda. */
export interface Mount {
  /** `ANY`, or a method where two rooms share one path. */
  readonly method: string;
  /** `/api/2.0/mlflow/runs/{proxy+}`, or one path in full. */
  readonly path: string;
  readonly room: string;
}

/** What of a route the gateway needs to know. */
export interface Mounted {
  readonly room: string;
  readonly method: string;
  /** As `kernel/route.ts` writes it: `/runs/{id}:archive`, `/artifacts/{path*}`. */
  readonly path: string;
}

/** HTTP APIs take 300 routes and hold them in no order; past 60 the plan is wrong. Source: ARCHITECTURE, "Front door". */
export const MOST_MOUNTS = 60;

interface Node {
  readonly routes: Mounted[];
  readonly children: Map<string, Node>;
}

/** The gateway knows whole segments only: `{id}:archive` is a parameter to it, and so is the rest of a path. */
const segmentsOf = (path: string): string[] =>
  path
    .split('/')
    .slice(1)
    .filter((segment, at, all) => segment !== '' || at < all.length - 1)
    .map((segment) => {
      if (/^\{\w+\*\}$/.test(segment)) return '*';
      return segment.startsWith('{') ? '{}' : segment;
    });

const roomsBelow = (node: Node): Set<string> =>
  new Set([
    ...node.routes.map(({ room }) => room),
    ...[...node.children.values()].flatMap((child) => [...roomsBelow(child)]),
  ]);

function plant(routes: readonly Mounted[]): Node {
  const root: Node = { routes: [], children: new Map() };
  for (const route of routes) {
    let node = root;
    for (const segment of segmentsOf(route.path)) {
      const next = node.children.get(segment) ?? { routes: [], children: new Map() };
      node.children.set(segment, next);
      node = next;
    }
    node.routes.push(route);
  }
  return root;
}

/** A path in the gateway's words: each parameter bears the name of its place. */
const worded = (segments: readonly string[]): string =>
  `/${segments
    .map((segment, at) => (segment === '{}' ? `{p${at}}` : segment === '*' ? '{proxy+}' : segment))
    .join('/')}`;

/** One path that ends here: `ANY` while one room answers all its methods. */
function exact(segments: readonly string[], routes: readonly Mounted[]): Mount[] {
  const rooms = new Map(routes.map(({ method, room }) => [method, room]));
  for (const { method, room, path } of routes)
    if (rooms.get(method) !== room)
      throw new Error(`The gateway cannot tell ${method} ${path} of ${room} from another room's.`);
  const [only, ...others] = new Set(rooms.values());
  const path = worded(segments);
  if (only !== undefined && others.length === 0) return [{ method: 'ANY', path, room: only }];
  return [...rooms].map(([method, room]) => ({ method, path, room }));
}

function descend(segments: readonly string[], node: Node): Mount[] {
  const [only, ...others] = roomsBelow(node);
  const own = node.routes.length > 0 ? exact(segments, node.routes) : [];
  if (only !== undefined && others.length === 0 && segments.length > 0) {
    if (node.children.size === 0) return own;
    return [...own, { method: 'ANY', path: worded([...segments, '*']), room: only }];
  }
  refuseBlurred(segments, node);
  const below = [...node.children].map(([segment, child]) =>
    descend([...segments, segment], child),
  );
  return [...own, ...below.flat()];
}

/**
 * The gateway's order between a literal and a parameter is written down for whole paths only. Where more of the path
 * follows, we do not depend on it.
 */
function refuseBlurred(segments: readonly string[], node: Node): void {
  for (const wide of [node.children.get('{}'), node.children.get('*')])
    for (const [segment, child] of node.children) {
      const whole = wide !== node.children.get('*') && !wide?.children.size && !child.children.size;
      if (!wide || child === wide || whole) continue;
      if (new Set([...roomsBelow(wide), ...roomsBelow(child)]).size > 1)
        throw new Error(
          `Under ${worded(segments)} the gateway cannot tell '${segment}' from another room's parameter.`,
        );
    }
}

/**
 * The fewest gateway routes that send each route's requests to its own room, by the shortest prefixes that one room
 * has to itself. Throws if the paths of two rooms cannot be told apart by whole segments, or there are too many.
 */
export function mountsOf(routes: readonly Mounted[]): Mount[] {
  const mounts = descend([], plant(routes)).sort((a, b) =>
    `${a.path} ${a.method}` < `${b.path} ${b.method}` ? -1 : 1,
  );
  if (mounts.length > MOST_MOUNTS)
    throw new Error(`${mounts.length} gateway routes are needed, at most ${MOST_MOUNTS} are meant`);
  return mounts;
}

/**
 * Where the gateway sends a request: a full match before a greedy one, then the longer and more literal path, then
 * the method by name. `path` as it stands in a URL. Source: API Gateway developer guide, "Routes for HTTP APIs".
 */
export function gatewayChoice(
  mounts: readonly Mount[],
  method: string,
  path: string,
): Mount | undefined {
  const asked = path.split('/').slice(1);
  const fits = (mount: Mount) => {
    if (mount.method !== 'ANY' && mount.method !== method) return false;
    const parts = mount.path.split('/').slice(1);
    const greedy = parts.at(-1) === '{proxy+}';
    const fixed = greedy ? parts.slice(0, -1) : parts;
    if (greedy ? asked.length <= fixed.length : asked.length !== fixed.length) return false;
    return fixed.every((part, at) => part.startsWith('{') || part === asked[at]);
  };
  const rank = (mount: Mount) => {
    const parts = mount.path.split('/').slice(1);
    const literals = parts.filter((part) => !part.startsWith('{')).length;
    const full = mount.path.endsWith('/{proxy+}') ? 0 : 1;
    return [full, literals, parts.length, mount.method === 'ANY' ? 0 : 1];
  };
  const better = (a: Mount, b: Mount) => {
    const [left, right] = [rank(a), rank(b)];
    const at = left.findIndex((value, index) => value !== right[index]);
    return at < 0 ? 0 : (right[at] ?? 0) - (left[at] ?? 0);
  };
  return mounts.filter(fits).sort(better)[0];
}

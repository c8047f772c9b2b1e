import type { Machine } from './ask.ts';
import {
  type Edge,
  type Graph,
  type Lit,
  lightUp,
  type Node,
  readGraph,
  type Status,
  taken,
} from './asl.ts';
import { el, part, refreshTimes, roving, svg, time, whenNew } from './dom.ts';
import { type Placed, type PlacedEdge, type PlacedNode, place, SIZES } from './layout.ts';
import type { Execution } from './runs.ts';
import { gist, shortened, span } from './words.ts';

/** The machine as it is on the page now. */
interface Shown {
  readonly graph: Graph;
  readonly shapes: Map<string, SVGGElement>;
  readonly lines: { readonly edge: Edge; readonly line: SVGGElement }[];
  /** Middles, for the arrow keys. */
  readonly spots: Map<string, { x: number; y: number }>;
  run: Execution;
  machine: Machine;
  lit: ReadonlyMap<string, Lit>;
}
let shown: Shown | undefined;
/** Counts the drawings: each has shapes of its own to light. */
let serial = 0;
let drawnKey = '';
let picked: string | undefined;
/** Whether the picked step was picked by a person; otherwise the page follows what runs or failed. */
let byHand = false;
let scrolled = false;

const SAID: Readonly<Partial<Record<Status, string>>> = {
  idle: 'not reached yet',
  cached: 'result reused',
};
const saidOf = (status: Status) => SAID[status] ?? status;
const KINDS: Readonly<Record<string, string>> = {
  Task: 'does a piece of work',
  Choice: 'decides which way to go',
  Parallel: 'runs its parts at the same time',
  Map: 'runs its part once for each item',
  Wait: 'waits',
  Pass: 'passes values on',
  Succeed: 'ends well',
  Fail: 'ends with an error',
};
const PHASES = ['prepare', 'decide', 'run', 'record'];

export const isOver = (state: string): boolean => !/^(PENDING|RUNNING|CANCELING)$/i.test(state);
const every = () => part<HTMLInputElement>('every-state').checked;

/** Draws the machine anew if it is another one, else only changes what has lit up. */
export function drawMachine(run: Execution, machine: Machine): void {
  const { key } = run;
  whenNew('definition', [key, every(), machine.definition], () => {
    if (drawnKey !== key) [picked, byHand, scrolled] = [undefined, false, false];
    drawnKey = key;
    build(run, machine);
  });
  if (!shown) return;
  shown.run = run;
  shown.machine = machine;
  shown.lit = lightUp(shown.graph, machine.history, machine.tasks, isOver(machine.state));
  light(shown);
  follow(shown);
  detail();
}

/** For a definition that cannot be had: an execution that has not begun, or is gone. */
export function clearMachine(words: string): void {
  whenNew('definition', words, () => {
    shown = undefined;
    part('graph').replaceChildren(el('p', { class: 'empty' }, words));
    part('detail').replaceChildren();
  });
}

function build(run: Execution, machine: Machine): void {
  const graph = readGraph(machine.definition, !every());
  const placed = place(graph);
  serial++;
  shown = {
    graph,
    run,
    shapes: new Map(),
    lines: [],
    spots: new Map(),
    machine,
    lit: new Map(),
  };
  const margin = { side: 16, top: 34 };
  const [width, height] = [placed.width + 2 * margin.side, placed.height + margin.top + 16];
  const root = svg('g', { transform: `translate(${margin.side} ${margin.top})` });
  const start = placed.nodes.find(({ node }) => node.id === graph.start);
  if (start) {
    const x = start.x + start.width / 2;
    root.append(
      svg('circle', { class: 'start', cx: x, cy: -24, r: 4 }),
      svg('path', { class: 'entry', d: `M${x} -20V${start.y - 6}` }),
      head({ x, y: start.y, down: 1 }),
    );
  }
  drawScope(placed, root, { x: 0, y: 0 }, shown);
  const box = part('graph');
  const room = Math.max(280, box.clientWidth - 2);
  const scale = Math.max(0.7, Math.min(1, room / width));
  box.replaceChildren(
    svg(
      'svg',
      {
        width: Math.ceil(width * scale),
        height: Math.ceil(height * scale),
        viewBox: `0 0 ${width} ${height}`,
        role: 'group',
        'aria-label': `The machine of ${machine.name}`,
      },
      root,
    ),
  );
  box.scrollTo(Math.max(0, (width * scale - room) / 2), 0);
}

const head = ({ x, y, down }: PlacedEdge['tip']) =>
  svg('path', { class: 'head', d: `M${x} ${y - down}l-4.5 ${-8 * down}h9z` });

function drawScope(
  placed: Placed,
  into: SVGGElement,
  at: { x: number; y: number },
  on: Shown,
): void {
  for (const { edge, path, tip } of placed.edges) {
    const line = svg(
      'g',
      { class: `edge${edge.caught ? ' caught' : ''}` },
      svg('path', { d: path }),
      head(tip),
    );
    on.lines.push({ edge, line });
    into.append(line);
  }
  for (const one of placed.nodes) into.append(drawNode(one, at, on));
}

function drawNode(one: PlacedNode, at: { x: number; y: number }, on: Shown): SVGGElement {
  const { node, x, y, width, height } = one;
  const [left, top] = [at.x + x, at.y + y];
  const shape = svg(
    'g',
    { class: `node ${node.kind}`, transform: `translate(${x} ${y})` },
    svg('title', {}, node.label),
    outline(node, width, height),
  );
  on.shapes.set(node.id, shape);
  on.spots.set(node.id, {
    x: left + width / 2,
    y: top + (node.kind === 'group' ? 14 : height / 2),
  });
  const fits = Math.floor((width - 42) / SIZES.letter);
  const group = node.kind === 'group';
  const task = node.kind === 'task';
  const words = {
    class: 'label',
    x: task || group ? 14 : width / 2,
    y: group ? 19 : task ? 20 : height / 2 + 4.5,
  };
  shape.append(svg('text', words, shortened(node.label, fits)));
  if (task)
    shape.append(
      svg('text', { class: 'note', x: 14, y: 37 }),
      svg('path', { class: 'mark', transform: `translate(${width - 19} 15)` }),
    );
  if (node.states.length > 1) {
    const part = (width - 28) / node.states.length;
    for (const at of node.states.keys())
      shape.append(
        svg('rect', {
          class: 'phase',
          x: 14 + at * part,
          y: height - 5,
          width: part - 3,
          height: 2,
        }),
      );
  }
  shape.addEventListener('click', (event) => {
    event.stopPropagation();
    pick(node.id);
  });
  for (const branch of one.inside) {
    const inner = svg('g', { transform: `translate(${branch.x} ${branch.y})` });
    drawScope(branch, inner, { x: left + branch.x, y: top + branch.y }, on);
    shape.append(inner);
  }
  return shape;
}

function outline(node: Node, width: number, height: number): SVGElement {
  if (node.kind !== 'choice') {
    const rx = node.kind === 'end' ? height / 2 : 6;
    return svg('rect', { class: 'box', width, height, rx });
  }
  const tip = height / 2;
  return svg('path', {
    class: 'box',
    d: `M${tip} 0H${width - tip}L${width} ${tip}L${width - tip} ${height}H${tip}L0 ${tip}z`,
  });
}

const MARKS: Readonly<Partial<Record<Status, string>>> = {
  succeeded: 'M-5 0l3.5 3.5L5 -4',
  cached: 'M5 -1a5 5 0 1 0 -1 4M5.5 -5v4.5h-4.5',
  failed: 'M-4 -4l8 8M4 -4l-8 8',
  skipped: 'M-5 -4l4.5 4l-4.5 4M5 -4v8',
  stopped: 'M-4 -4h8v8h-8z',
};

function light({ graph, shapes, lines, lit, machine }: Shown): void {
  const over = isOver(machine.state);
  const nodes = allNodes(graph);
  for (const node of nodes) {
    const shape = shapes.get(node.id);
    const now = lit.get(node.id);
    if (!shape || !now) continue;
    const words = noteOf(now, over);
    whenNew(`node ${node.id}`, [serial, now, words, picked === node.id], () => {
      shape.setAttribute(
        'class',
        `node ${node.kind} ${now.status}${over ? ' over' : ''}${picked === node.id ? ' picked' : ''}`,
      );
      shape.setAttribute('role', 'button');
      shape.setAttribute('aria-label', `${node.label}: ${saidOf(now.status)}`);
      shape.setAttribute('aria-pressed', String(picked === node.id));
      for (const child of shape.children) {
        if (child.matches('.note')) {
          child.textContent = words;
          child.setAttribute('data-since', now.status === 'running' ? `${now.enteredAt}` : '');
        }
        if (child.matches('.mark')) child.setAttribute('d', MARKS[now.status] ?? 'M0 0');
      }
      const phases = [...shape.children].filter((child) => child.matches('.phase'));
      for (const [at, phase] of phases.entries())
        phase.setAttribute('class', `phase ${now.parts[at]}`);
    });
  }
  for (const { edge, line } of lines)
    if (taken(edge, lit) && !line.matches('.taken')) {
      line.classList.add('taken');
      // Above the lines that were not taken.
      line.parentElement?.querySelector(':scope > .node')?.before(line);
    }
  const focused = nodes.find((node) => shapes.get(node.id) === document.activeElement);
  roving([...shapes.values()], shapes.get(focused?.id ?? picked ?? graph.start));
}

function noteOf({ status, enteredAt, exitedAt }: Lit, over: boolean): string {
  if (status === 'idle') return over ? 'not reached' : '';
  if (status === 'cached' || status === 'skipped') return saidOf(status);
  if (enteredAt === undefined || status === 'running') return '';
  return exitedAt === undefined ? status : span(exitedAt - enteredAt);
}

const allNodes = (graph: Graph): Node[] =>
  graph.nodes.flatMap((node) => [node, ...node.branches.flatMap(allNodes)]);

/** Brings what runs (or failed) into the middle of its box, until a person scrolls or picks. */
function follow({ graph, shapes, lit }: Shown): void {
  const nodes = allNodes(graph).filter(({ kind }) => kind === 'task');
  const of = (status: Status) => nodes.find((node) => lit.get(node.id)?.status === status);
  const lead = of('running') ?? of('failed');
  if (!byHand && lead?.id !== picked) pick(lead?.id, false);
  const shape = lead && shapes.get(lead.id);
  if (!shape || scrolled || byHand) return;
  whenNew('followed', [serial, lead.id], () => centre(shape));
}

function centre(shape: SVGGElement): void {
  const box = part('graph');
  const [inner, outer] = [shape.getBoundingClientRect(), box.getBoundingClientRect()];
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  box.scrollBy({
    left: inner.left + inner.width / 2 - outer.left - outer.width / 2,
    top: inner.top + inner.height / 2 - outer.top - outer.height / 2,
    behavior: calm ? 'instant' : 'smooth',
  });
}

function pick(id: string | undefined, hand = true): void {
  [picked, byHand] = [id, hand && id !== undefined];
  if (!shown) return;
  light(shown);
  detail();
  refreshTimes();
}

/** The panel beside the machine: the picked step, or the run as a whole. */
function detail(): void {
  if (!shown) return;
  const { run, graph, lit } = shown;
  const node = allNodes(graph).find(({ id }) => id === picked);
  const now = node && lit.get(node.id);
  const facts = node && now ? factsOfNode(node, now) : factsOfRun(run);
  const failed = (now?.status ?? run.state) === 'failed';
  const why = now?.why ?? (failed || !node ? run.why : undefined);
  const said = facts.map(([name, value]) => [
    name,
    typeof value === 'string' ? value : { ...value.dataset },
  ]);
  whenNew('detail', [serial, picked, said, why], () =>
    part('detail').replaceChildren(
      el('h3', {}, node ? node.label : run.title),
      el(
        'p',
        { class: 'sub' },
        node
          ? `${node.type}: ${KINDS[node.type] ?? ''}`
          : 'Choose a step for its times and its reason.',
      ),
      el('dl', {}, ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
      ...(why ? [whyOf(why, failed)] : []),
    ),
  );
}

type Fact = readonly [name: string, value: string | HTMLElement];

function factsOfNode(node: Node, now: Lit): Fact[] {
  const facts: Fact[] = [['State', saidOf(now.status)]];
  if (now.enteredAt !== undefined) {
    facts.push(['Started', time(now.enteredAt)]);
    const { enteredAt, exitedAt } = now;
    facts.push(
      exitedAt === undefined
        ? ['So far', el('span', { 'data-since': enteredAt })]
        : ['Took', span(exitedAt - enteredAt)],
    );
  }
  if (node.states.length === PHASES.length)
    for (const [at, phase] of PHASES.entries()) {
      const seen = shown?.machine.history.find(({ name }) => name === node.states[at]);
      if (seen?.exitedAt !== undefined && seen.exitedAt - seen.enteredAt > 0)
        facts.push([`· ${phase}`, span(seen.exitedAt - seen.enteredAt)]);
    }
  return facts;
}

function factsOfRun({ said, startedAt, endedAt, parameters }: Execution): Fact[] {
  return [
    ['State', said],
    ...(startedAt ? [['Started', time(startedAt)] as const] : []),
    ...(endedAt === undefined ? [] : [['Took', span(endedAt - startedAt)] as const]),
    ...Object.entries(parameters)
      .slice(0, 12)
      .map(
        ([name, value]): Fact => [
          shortened(name, 24),
          shortened(typeof value === 'string' ? value : JSON.stringify(value), 120),
        ],
      ),
  ];
}

function whyOf(why: string, failed: boolean): Element {
  const short = gist(why);
  const all = el('details', {}, el('summary', {}, 'All it said'), el('pre', { tabindex: 0 }, why));
  return el(
    'div',
    { class: failed ? 'why failed' : 'why' },
    el('p', {}, short),
    ...(short === why.trim() ? [] : [all]),
  );
}

/** The nearest step in the direction of an arrow key. */
export function nearest(
  from: { x: number; y: number },
  key: string,
  spots: Iterable<readonly [string, { x: number; y: number }]>,
): string | undefined {
  let best: { id: string; far: number } | undefined;
  for (const [id, { x, y }] of spots) {
    const [dx, dy] = [x - from.x, y - from.y];
    const along = { ArrowDown: dy, ArrowUp: -dy, ArrowRight: dx, ArrowLeft: -dx }[key] ?? 0;
    const aside = Math.abs(key === 'ArrowDown' || key === 'ArrowUp' ? dx : dy);
    if (along < 4) continue;
    const far = along + 2.5 * aside;
    if (!best || far < best.far) best = { id, far };
  }
  return best?.id;
}

/** Arrow keys move between steps, Enter and Space choose, Escape lets go. */
export function walkMachine(redraw: () => void): void {
  const box = part('graph');
  part('every-state').addEventListener('change', redraw);
  for (const kind of ['wheel', 'pointerdown'])
    box.addEventListener(
      kind,
      () => {
        scrolled = true;
      },
      { passive: true },
    );
  box.addEventListener('click', () => pick(undefined));
  box.addEventListener('keydown', (event) => {
    if (!shown) return;
    const { shapes, spots } = shown;
    const id = [...shapes].find(([, shape]) => shape === document.activeElement)?.[0];
    if (id === undefined) return;
    if (event.key === 'Escape') return pick(undefined);
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      return pick(id);
    }
    const from = spots.get(id);
    const to = from && shapes.get(nearest(from, event.key, spots) ?? '');
    if (!to) return;
    event.preventDefault();
    roving([...shapes.values()], to);
    to.focus({ preventScroll: true });
    centre(to);
  });
}

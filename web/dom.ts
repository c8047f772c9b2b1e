/** Elements, made without any text that is read as markup. */

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;
type Child = Element | string;

function filled<E extends Element>(made: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false)
      made.setAttribute(name, value === true ? '' : `${value}`);
  made.append(...children);
  return made;
}

export const el = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] => filled(document.createElement(tag), attributes, children);

export const svg = <K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] =>
  filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

/** The part of the page with this id; the page and its modules are of one version. */
export function part<E extends Element = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no part ${id}.`);
  return found as unknown as E;
}

/** Runs `draw` only if what it draws from has changed since this part was last drawn. */
export function whenNew(key: string, facts: unknown, draw: () => void): void {
  const text = JSON.stringify(facts);
  if (drawn.get(key) === text) return;
  drawn.set(key, text);
  draw();
}
const drawn = new Map<string, string>();

/** Words for a time that grow older by themselves; see `refreshTimes`. */
export const time = (at: number): HTMLTimeElement =>
  el('time', { datetime: new Date(at).toISOString(), 'data-at': at });

/** What has the focus, or is within it, gets it back after `draw`, by its data-key. */
export function keepingFocus(root: Element, draw: () => void): void {
  const held = document.activeElement;
  const key = held && root.contains(held) ? held.getAttribute('data-key') : null;
  draw();
  if (key === null) return;
  for (const one of root.querySelectorAll<HTMLElement>('[data-key]'))
    if (one.dataset['key'] === key) one.focus({ preventScroll: true });
}

/** One stop for Tab; arrow keys move within. `to` picks the next of the items from a key. */
export function roving<E extends HTMLElement | SVGElement>(
  items: readonly E[],
  current: E | undefined,
): void {
  const stop = current ?? items[0];
  for (const item of items) item.setAttribute('tabindex', item === stop ? '0' : '-1');
}

export function table(
  caption: string,
  heads: readonly string[],
  rows: readonly {
    readonly key: string;
    readonly cells: readonly Child[];
    readonly classes?: string;
  }[],
): HTMLTableElement {
  return el(
    'table',
    {},
    el('caption', { class: 'hidden' }, caption),
    el('thead', {}, el('tr', {}, ...heads.map((head) => el('th', { scope: 'col' }, head)))),
    el(
      'tbody',
      {},
      ...rows.map(({ key, cells, classes }) =>
        el(
          'tr',
          { 'data-row': key, class: classes },
          ...cells.map((cell, at) => (at ? el('td', {}, cell) : el('th', { scope: 'row' }, cell))),
        ),
      ),
    ),
  );
}

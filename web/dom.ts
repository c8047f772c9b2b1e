import { ago, exact, span } from './words.ts';

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

/** Words for a time; they grow older by themselves, see `refreshTimes`. */
export const time = (at: number): HTMLTimeElement =>
  el(
    'time',
    { datetime: new Date(at).toISOString(), title: exact(at), 'data-at': at },
    ago(at, Date.now()),
  );

/** Every time on the page grows older in place, and so does how long something has run. */
export function refreshTimes(): void {
  const now = Date.now();
  for (const one of document.querySelectorAll('[data-at],[data-since]:not([data-since=""])')) {
    const at = one.getAttribute('data-at');
    const words = at ? ago(Number(at), now) : span(now - Number(one.getAttribute('data-since')));
    if (one.textContent !== words) one.textContent = words;
  }
}

/** What has the focus, or is within it, gets it back after `draw`, by its data-key. */
export function keepingFocus(root: Element, draw: () => void): void {
  const held = document.activeElement;
  const key = held && root.contains(held) ? held.getAttribute('data-key') : null;
  draw();
  if (key === null) return;
  const again = root.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
  again?.focus({ preventScroll: true });
}

/** One stop for Tab: arrow keys move within. */
export function roving(items: readonly (HTMLElement | SVGElement)[], stop = items[0]): void {
  for (const item of items) item.tabIndex = item === stop ? 0 : -1;
}

/** Up and down move between the buttons of a list, Home and End jump; Enter chooses, as on any button. */
export function walkButtons(id: string): void {
  const root = part(id);
  root.addEventListener('keydown', (event) => {
    const buttons = [...root.querySelectorAll('button')];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    const next = buttons[to ?? -1];
    if (!next) return;
    event.preventDefault();
    roving(buttons, next);
    next.focus();
  });
}

export function table(
  caption: string,
  heads: readonly string[],
  rows: readonly { readonly cells: readonly Child[]; readonly classes?: string }[],
): HTMLTableElement {
  return el(
    'table',
    {},
    el('caption', { class: 'hidden' }, caption),
    el('thead', {}, el('tr', {}, ...heads.map((head) => el('th', { scope: 'col' }, head)))),
    el(
      'tbody',
      {},
      ...rows.map(({ cells, classes }) =>
        el(
          'tr',
          { class: classes },
          ...cells.map((cell, at) => (at ? el('td', {}, cell) : el('th', { scope: 'row' }, cell))),
        ),
      ),
    ),
  );
}

import { governanceRoom } from '../functions/governance/index.ts';
import type { Finding, Position } from '../functions/governance/verification.ts';
import { askAt, askServer, inFolder } from './operator.ts';
import { realWorld } from './start.ts';

export interface AuditAsked {
  readonly data: string;
  /** A server elsewhere, and the token for it. */
  readonly url: string | undefined;
  readonly token: string | undefined;
  /** `<number>:<hash>` of an anchor that was kept somewhere else. */
  readonly kept: string | undefined;
  readonly write: (line: string) => void;
}

/** One page as `GET /api/audit/verify` answers it. */
interface Page {
  readonly anchors: number;
  readonly subjects: number;
  readonly entries: number;
  readonly findings: readonly Finding[];
  readonly newest?: { readonly number: number; readonly hash: string };
  readonly next_page_token?: string;
}

/**
 * Walks all chains of a workspace and its anchors, and writes a line for whatever is not as it was written. False if
 * there was such a thing. A server is asked page by page; where none runs the table is opened here.
 */
export async function verifyAudit(asked: AuditAsked): Promise<boolean> {
  const { data, url, token, kept } = asked;
  if (kept !== undefined && !/^[1-9]\d{0,11}:[0-9a-f]{64}$/.test(kept))
    throw new Error(`--kept must be <number>:<hash> of an anchor, got '${kept}'`);
  const first = pathOf(kept, undefined);
  const page = await (url
    ? askAt<Page>(url, token, 'GET', first)
    : askServer<Page>(data, 'GET', first));
  if (!page) return inTable(asked);
  return told(asked, page, (next) =>
    url
      ? askAt<Page>(url, token, 'GET', pathOf(undefined, next))
      : askServer<Page>(data, 'GET', pathOf(undefined, next)),
  );
}

function pathOf(kept: string | undefined, page: string | undefined): string {
  const query = new URLSearchParams({
    ...(kept ? { kept } : {}),
    ...(page ? { page_token: page } : {}),
  });
  return `/api/audit/verify?${query}`;
}

/** The same routes' answers, without a server. */
function inTable(asked: AuditAsked): Promise<boolean> {
  return inFolder(asked.data, 60, async (table, call) => {
    const secret = new Uint8Array(32); // signs page tokens, and none leaves
    const { whole } = governanceRoom({ table, world: realWorld, secret }).service;
    const [number, hash = ''] = asked.kept?.split(':') ?? [];
    const other = number && (await whole.kept(call(), { sequence: Number(number), hash }));
    let position: Position | undefined;
    const page = async (token?: string): Promise<Page> => {
      const { next, findings, ...sum } = await whole.page(call(), position);
      position = next;
      const newest = await whole.newest(call());
      return {
        ...sum,
        findings: token === undefined && other ? [other, ...findings] : findings,
        ...(newest ? { newest: { number: newest.sequence, hash: newest.hash } } : {}),
        ...(next ? { next_page_token: 'next' } : {}),
      };
    };
    return told(asked, await page(), page);
  });
}

async function told(
  { write }: AuditAsked,
  first: Page,
  more: (token: string) => Promise<Page | undefined>,
): Promise<boolean> {
  const sum = { anchors: 0, subjects: 0, entries: 0, findings: 0 };
  let page: Page = first;
  for (;;) {
    sum.anchors += page.anchors;
    sum.subjects += page.subjects;
    sum.entries += page.entries;
    sum.findings += page.findings.length;
    for (const finding of page.findings) write(worded(finding));
    if (page.next_page_token === undefined) break;
    const next = await more(page.next_page_token);
    if (!next) throw new Error('the server ended before it had verified everything');
    page = next;
  }
  write(`${sum.entries} entries, ${sum.anchors} anchors: ${sum.findings || 'nothing'} amiss`);
  const { newest } = page;
  if (newest)
    write(`newest anchor ${newest.number}:${newest.hash} (keep it elsewhere, and ask with --kept)`);
  return sum.findings === 0;
}

const worded = ({ subject, sequence, anchor, why }: Finding): string =>
  [
    `amiss: ${subject}`,
    sequence === undefined ? '' : ` entry ${sequence}`,
    `: ${why}`,
    anchor === undefined ? '' : ` (says anchor ${anchor})`,
  ].join('');

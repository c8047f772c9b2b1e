import * as z from 'zod';
import type { Pages } from '../kernel/page.ts';
import type { Route } from '../kernel/route.ts';
import type { DeadLetter } from '../platform/ports.ts';
import { apiRoute as route } from '../protocols/api.ts';
import type { LettersService } from './letters.ts';
import type { GovernanceService } from './service.ts';
import type { Position } from './verification.ts';

const Entry = z.object({
  id: z.string(),
  type: z.string(),
  subject: z.string(),
  data: z.unknown(),
  caller: z.string(),
  action: z.string(),
  requestId: z.string(),
  at: z.number(),
  sequence: z.number(),
  previous: z.string(),
  hash: z.string(),
});

const Finding = z.object({
  subject: z.string(),
  sequence: z.number().optional(),
  anchor: z.number().optional(),
  why: z.string(),
});

/** `12:<64 hex digits>`: number and hash of an anchor that was kept somewhere else. */
const Kept = z
  .string()
  .regex(/^[1-9]\d{0,11}:[0-9a-f]{64}$/, 'must be <number>:<hash> of an anchor')
  .transform((text) => ({ sequence: Number.parseInt(text, 10), hash: text.slice(-64) }));

const Letter = z.object({
  id: z.string(),
  follower: z.string(),
  event: Entry.partial().optional(),
  attempts: z.number(),
  error: z.string(),
  at: z.number(),
});

const limits = { bodyBytes: 0, timeoutSeconds: 29 };

export function auditRoutes(governance: GovernanceService, tokens: Pages): Route[] {
  return [
    route('GET', '/api/audit', 'governance:read', {
      input: z.object({
        subject: z.string().min(1).max(1000),
        page_token: z.string().max(4096).optional(),
      }),
      output: z.object({
        entries: z.array(Entry),
        chain: z.object({ checked: z.number(), broken: z.string().optional() }),
        next_page_token: z.string().optional(),
      }),
      resource: ({ subject }) => `audit/${subject}`,
      limits: { bodyBytes: 0, timeoutSeconds: 30 },
      summary:
        'What happened to a subject such as models/churn, by whom, and whether its chain is whole',
      async run(call, { subject, page_token }) {
        const query = { audit: subject };
        const after = page_token && tokens.open<{ after: string }>(call, query, page_token).after;
        const [{ entries, next }, chain] = await Promise.all([
          governance.entries(call, subject, after || undefined),
          governance.verify(call, subject),
        ]);
        const shown = entries.map(({ workspace: _, ...entry }) => entry);
        const token =
          next === undefined ? {} : { next_page_token: tokens.seal(call, query, { after: next }) };
        return { entries: shown, chain, ...token };
      },
    }),
    route('GET', '/api/audit/verify', 'governance:read', {
      input: z.object({ kept: Kept.optional(), page_token: z.string().max(4096).optional() }),
      output: z.object({
        anchors: z.number(),
        subjects: z.number(),
        entries: z.number(),
        findings: z.array(Finding),
        newest: z.object({ number: z.number(), hash: z.string() }).optional(),
        next_page_token: z.string().optional(),
      }),
      resource: () => 'audit',
      limits,
      summary:
        'All that happened, a page at a time, against the chains of subjects and the anchors',
      async run(call, { kept, page_token }) {
        const query = { audit: 'verify' };
        const from = page_token && tokens.open<Position>(call, query, page_token);
        const { next, findings, ...sum } = await governance.whole.page(call, from || undefined);
        const other = kept && (await governance.whole.kept(call, kept));
        const newest = await governance.whole.newest(call);
        return {
          ...sum,
          findings: other ? [other, ...findings] : findings,
          ...(newest ? { newest: { number: newest.sequence, hash: newest.hash } } : {}),
          ...(next ? { next_page_token: tokens.seal(call, query, next) } : {}),
        };
      },
    }),
  ];
}

/** For admins: an event may tell more than its reader may look up, and a replay makes a follower act. */
export function letterRoutes(letters: LettersService, tokens: Pages): Route[] {
  return [
    route('GET', '/api/dead-letters', 'governance:letters', {
      input: z.object({ page_token: z.string().max(4096).optional() }),
      output: z.object({ letters: z.array(Letter), next_page_token: z.string().optional() }),
      resource: () => 'dead-letters',
      limits,
      retry: 'natural', // it changes nothing
      summary: 'Events that a follower has failed to take, each time it was tried',
      async run(call, { page_token }) {
        const query = { letters: 'all' };
        const after = page_token && tokens.open<{ after: string }>(call, query, page_token).after;
        const { letters: found, next } = await letters.list(call, after || undefined);
        const token =
          next === undefined ? {} : { next_page_token: tokens.seal(call, query, { after: next }) };
        return { letters: found.map(letterOnWire), ...token };
      },
    }),
    route('POST', '/api/dead-letters/{id}/replay', 'governance:letters', {
      input: z.object({
        id: z.string().regex(/^[a-z-]{1,60}\.\d{1,15}$/, 'must be an id that the list shows'),
      }),
      output: Letter,
      resource: ({ id }) => `dead-letters/${id}`,
      limits: { ...limits, bodyBytes: 1024 },
      retry: 'natural', // the id; once it was taken there is none of that id
      summary: 'Deliver one once more; it is forgotten when that works',
      run: async (call, { id }) => letterOnWire(await letters.replay(call, id)),
    }),
  ];
}

function letterOnWire({ event, ...letter }: DeadLetter) {
  if (!event) return letter;
  const { workspace: _, ...told } = event;
  return { ...letter, event: told };
}

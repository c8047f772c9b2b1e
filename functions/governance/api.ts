import * as z from 'zod';
import type { Pages } from '../kernel/page.ts';
import type { Route } from '../kernel/route.ts';
import { apiRoute as route } from '../protocols/api.ts';
import type { GovernanceService } from './service.ts';

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
  ];
}

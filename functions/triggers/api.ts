import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { apiRoute } from '../protocols/api.ts';
import { Firing, Rule, RuleAsked, RuleName, UserEvent } from './model.ts';
import type { TriggerService } from './service.ts';

const Named = z.strictObject({ name: RuleName });
const Paged = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(50),
  pageToken: z.string().max(4096).optional(),
});
const RuleOnWire = Rule.omit({ generation: true });
const onWire = ({ generation: _, ...rule }: Rule) => rule;

const read = { bodyBytes: 0, timeoutSeconds: 10 };
const write = { bodyBytes: 131_072, timeoutSeconds: 10 };
const resource = ({ name }: { name: string }) => `rules/${name}`;
const Sent = z.object({ id: z.string(), repeated: z.boolean() });

/** Rules, what they fired, and users' own events. */
export function triggerRoutes(triggers: TriggerService): Route[] {
  const enabling = (verb: 'enable' | 'disable') =>
    apiRoute('POST', `/api/rules/{name}/${verb}`, 'triggers:write', {
      input: Named,
      output: RuleOnWire,
      resource,
      limits: write,
      retry: 'natural',
      summary: `${verb === 'enable' ? 'Enable' : 'Disable'} a rule`,
      run: async (call, { name }) => onWire(await triggers.enable(call, name, verb === 'enable')),
    });
  return [
    apiRoute('GET', '/api/rules', 'triggers:read', {
      input: Paged,
      output: z.object({ rules: z.array(RuleOnWire), nextPageToken: z.string().optional() }),
      resource: () => 'rules',
      limits: read,
      summary: 'List rules',
      run: async (call, { limit, pageToken }) => {
        const { items, next } = await triggers.list(call, limit, pageToken);
        return { rules: items.map(onWire), ...(next ? { nextPageToken: next } : {}) };
      },
    }),
    apiRoute('PUT', '/api/rules/{name}', 'triggers:write', {
      input: RuleAsked.extend({ name: RuleName }),
      output: RuleOnWire,
      resource,
      limits: write,
      retry: 'natural', // putting what stands already changes nothing
      summary: 'Make or replace a rule',
      run: async (call, { name, ...asked }) => onWire(await triggers.put(call, name, asked)),
    }),
    apiRoute('GET', '/api/rules/{name}', 'triggers:read', {
      input: Named,
      output: RuleOnWire.extend({ next: z.array(z.number()) }),
      resource,
      limits: read,
      summary: 'One rule, and when its clock strikes next',
      run: async (call, { name }) => {
        const { rule, next } = await triggers.get(call, name);
        return { ...onWire(rule), next };
      },
    }),
    apiRoute('DELETE', '/api/rules/{name}', 'triggers:delete', {
      input: Named,
      output: z.undefined(),
      resource,
      limits: write,
      retry: 'natural', // a second delete is `missing`
      summary: 'Delete a rule',
      run: (call, { name }) => triggers.remove(call, name),
    }),
    enabling('enable'),
    enabling('disable'),
    apiRoute('GET', '/api/rules/{name}/firings', 'triggers:read', {
      input: Paged.extend({ name: RuleName }),
      output: z.object({ firings: z.array(Firing), nextPageToken: z.string().optional() }),
      resource,
      limits: read,
      summary: 'What a rule heard and what became of it, newest first',
      run: async (call, { name, limit, pageToken }) => {
        const { items, next } = await triggers.firings(call, name, limit, pageToken);
        return { firings: items, ...(next ? { nextPageToken: next } : {}) };
      },
    }),
    apiRoute('POST', '/api/events', 'triggers:tell', {
      input: UserEvent,
      output: Sent,
      resource: ({ type }) => `events/${type}`,
      limits: { bodyBytes: 65_536, timeoutSeconds: 10 },
      retry: 'header', // and the event's own id
      summary: "Tell an event of one's own",
      run: (call, sent) => triggers.tell(call, sent),
      encode: (answer) => answer,
    }),
  ];
}

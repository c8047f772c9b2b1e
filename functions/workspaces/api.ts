import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { apiRoute as route } from '../protocols/api.ts';
import { Role, TokenName } from './model.ts';
import type { WorkspacesService } from './service.ts';

const limits = { bodyBytes: 4096, timeoutSeconds: 5 };
const TokenOnWire = z.object({
  id: z.string(),
  name: z.string(),
  role: Role,
  createdAt: z.number(),
  createdBy: z.string(),
  expiresAt: z.number().optional(),
});

export function apiRoutes(workspaces: WorkspacesService): Route[] {
  return [
    route('GET', '/api/tokens', 'workspaces:read', {
      input: z.object({}),
      output: z.object({ tokens: z.array(TokenOnWire) }),
      resource: () => 'tokens',
      limits: { ...limits, bodyBytes: 0 },
      summary: 'The tokens of this workspace, without their secrets',
      run: async (call) => ({ tokens: await workspaces.listTokens(call) }),
    }),
    route('POST', '/api/tokens', 'workspaces:admin', {
      input: z.object({
        name: TokenName,
        role: Role.default('write'),
        expiresSeconds: z
          .number()
          .int()
          .min(60)
          .max(366 * 86_400)
          .optional(),
      }),
      output: TokenOnWire.extend({ token: z.string() }),
      resource: () => 'tokens',
      limits,
      retry: 'none', // a secret is never kept for a repeat
      summary: 'Create a token; its secret is shown this once',
      run: (call, { name, role, expiresSeconds }) =>
        workspaces.createToken(call, { name, role, ...(expiresSeconds ? { expiresSeconds } : {}) }),
    }),
    route('DELETE', '/api/tokens/{id}', 'workspaces:admin', {
      input: z.object({ id: z.string().regex(/^[a-z0-9]{8,40}$/, 'is not the id of a token') }),
      output: z.undefined(),
      resource: ({ id }) => `tokens/${id}`,
      limits: { ...limits, bodyBytes: 0 },
      retry: 'natural',
      summary: 'Revoke a token',
      run: (call, { id }) => workspaces.revokeToken(call, id),
    }),
  ];
}

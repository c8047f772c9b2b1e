import * as z from 'zod';
import type { Id } from '../kernel/ids.ts';

/** The workspace's 8 characters and 12 of its own. */
export type TokenId = Id<'TokenId'>;

export const Role = z.enum(['admin', 'write', 'read']);

export const TokenName = z
  .string()
  .regex(/^[\w.@-]{1,64}$/, 'may hold only letters, digits, _ . @ and -, at most 64');

/** What is kept of a token: never the secret. */
export interface Token {
  readonly id: TokenId;
  readonly name: string;
  readonly role: z.infer<typeof Role>;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly createdBy: string;
  readonly expiresAt?: number;
}

/** `sf_<id>_<256 random bits>`. */
export const TOKEN_FORM = /^sf_([a-z0-9]{8}[0-9a-f]{12})_([\w-]{43})$/;

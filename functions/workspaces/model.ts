import * as z from 'zod';
import type { Id } from '../kernel/ids.ts';

/** The workspace's 8 characters and 12 of its own. */
export type TokenId = Id<'TokenId'>;
/** The workspace's 8 characters, `step`, and 24 that follow from the job. */
export type StepTokenId = Id<'StepTokenId'>;

export const Role = z.enum(['admin', 'write', 'read']);

export const TokenName = z
  .string()
  .regex(/^[\w.@-]{1,64}$/, 'may hold only letters, digits, _ . @ and -, at most 64');

/** What is kept of a token: never the secret. */
export interface Token {
  readonly id: TokenId | StepTokenId;
  readonly name: string;
  readonly role: z.infer<typeof Role>;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly createdBy: string;
  readonly expiresAt?: number;
}

/** `sf_<id>_<256 bits>`. */
export const TOKEN_FORM = /^sf_([a-z0-9]{8}(?:[0-9a-f]{12}|step[0-9a-f]{24}))_([\w-]{43})$/;
export const STEP_ID_FORM = /^[a-z0-9]{8}step[0-9a-f]{24}$/;
export const STEP_NAME = 'step';

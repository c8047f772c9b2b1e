import type { ProblemCode } from '../kernel/problem.ts';

/** How one wire words a problem: its HTTP status, and its own word or number for it. */
export type Wording<Word> = Readonly<Record<ProblemCode, readonly [status: number, word: Word]>>;

export function jsonAnswer(
  status: number,
  body: string,
  contentType = 'application/json',
): Response {
  return new Response(body, { status, headers: { 'Content-Type': contentType } });
}

import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import type { DeadLetter, DeadLetters, Table } from '../platform/ports.ts';

/** Deliveries that were given up, seen and tried again by people. */
export function lettersService(table: Table, letters: DeadLetters | undefined) {
  function held(): DeadLetters {
    if (letters) return letters;
    throw new Problem(
      'unsupported',
      "In an account dead letters lie in SQS: list and redrive the queue '<follower>-dead' of the stack stillflow-events there.",
    );
  }
  return {
    list: async (call: Call, after?: string): Promise<{ letters: DeadLetter[]; next?: string }> =>
      held().list(call, after),

    /** Throws `missing`, and `precondition` when the follower fails again. */
    async replay(call: Call, id: string): Promise<DeadLetter> {
      const letter = await held().replay(call, id);
      await table.commit(call, [], {
        type: 'governance.letter.replayed',
        subject: `dead-letters/${id}`,
        data: { follower: letter.follower, event: letter.event?.id ?? null },
      });
      return letter;
    },
  };
}
export type LettersService = ReturnType<typeof lettersService>;

import { Problem } from '../functions/kernel/problem.ts';
import type { DeadLetter, DeadLetters } from '../functions/platform/ports.ts';
import { ATTEMPTS, type LocalBus, type DeadLetter as Stored } from './bus.ts';

const MOST = 100;

/** `<follower>/<sequence>` as one segment of a path; no follower's name holds a dot. */
const shownId = (id: string) => id.replace('/', '.');
const storedId = (id: string) => id.replace('.', '/');

const workspaceOf = ({ entry }: Stored): string =>
  'told' in entry ? entry.told.workspace : entry.workspace;

/** The first line alone: the rest of it is a stack, which is for the log. */
const shown = ({ id, follower, entry, error, attempts = ATTEMPTS, at }: Stored): DeadLetter => ({
  id: shownId(id),
  follower,
  ...('told' in entry ? { event: entry.told } : {}),
  attempts,
  error: (error.split('\n', 1)[0] ?? '').slice(0, 1000),
  at,
});

/** What this machine's bus has set aside; `bus` is there once the platform runs. */
export function lettersOf(
  bus: () => Pick<LocalBus, 'letters' | 'letter' | 'replay'> | undefined,
): DeadLetters {
  function running() {
    const found = bus();
    if (found) return found;
    throw new Problem('unavailable', 'The bus has not started yet.', { retryAfterSeconds: 1 });
  }
  return {
    async list(call, after) {
      const page = running().letters(after && storedId(after), MOST);
      const own = page.filter((letter) => workspaceOf(letter) === call.workspace);
      const last = page.length === MOST ? page.at(-1) : undefined;
      return { letters: own.map(shown), ...(last ? { next: shownId(last.id) } : {}) };
    },

    async replay(call, id) {
      const letter = running().letter(storedId(id));
      if (!letter || workspaceOf(letter) !== call.workspace)
        throw new Problem('missing', `There is no dead letter ${id}.`);
      try {
        await running().replay(letter.id);
      } catch (cause) {
        const now = running().letter(letter.id);
        const why = now ? shown(now).error : 'it is no longer there';
        throw new Problem('precondition', `The delivery failed again and is kept: ${why}`, {
          cause,
        });
      }
      return shown(letter);
    },
  };
}

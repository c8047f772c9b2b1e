import { createHash } from 'node:crypto';
import type { StateMachine } from '../../../statemachines/asl.ts';
import { LIMITS } from '../../../statemachines/asl.ts';
import { type Plan, planOf } from './plan.ts';
import { readSpec } from './read.ts';
import { refuse } from './refusal.ts';
import { machineOf } from './write.ts';

export interface Compiled {
  readonly plan: Plan;
  readonly definition: StateMachine;
  /** Names the machine by what it does: the same spec gives the same name, another spec or compiler another. */
  readonly machine: string;
}

/** Moves when the same spec must become another machine. */
const COMPILER = 1;

/** Read, plan, write: pure. Throws `invalid`, naming the node and the feature or the fix. */
export function compile(document: unknown, platform?: unknown): Compiled {
  const { spec, warnings } = readSpec(document, platform);
  const plan = planOf(spec, warnings);
  const definition = machineOf(plan);
  const bytes = Buffer.byteLength(JSON.stringify(definition));
  if (bytes > LIMITS.definitionBytes)
    throw refuse(
      'the pipeline',
      `its state machine has ${bytes} bytes of ${LIMITS.definitionBytes}.`,
    );
  return { plan, definition, machine: nameOf(plan, definition) };
}

function nameOf(plan: Plan, definition: StateMachine): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([COMPILER, plan, definition]))
    .digest('hex')
    .slice(0, 16);
  const readable = plan.name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 40);
  return `${readable.replace(/^-+|-+$/g, '') || 'pipeline'}-${digest}`;
}

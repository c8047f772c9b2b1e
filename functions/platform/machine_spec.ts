import { LIMITS } from '../../statemachines/asl.ts';
import type { Json } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';

/** Both worlds check what they are asked to define and start here, so that what runs on a laptop runs in an account. */

/** Leaves room for a prefix and a workspace within Step Functions' 80 characters: `sf-default0-`. */
const MACHINE_NAME = 68;
/** Likewise `default0-`. */
const EXECUTION_NAME = 70;

/** Throws `invalid`. */
export const checkMachineName = (name: string): void => checkName(name, 'name', MACHINE_NAME);

/** The input as it travels. Throws `invalid` and `too_large`, naming the field. */
export function checkStart(machine: string, execution: string, input: Json): string {
  checkName(machine, 'machine', MACHINE_NAME);
  checkName(execution, 'execution', EXECUTION_NAME);
  const text = textOf(input);
  if (Buffer.byteLength(text) > LIMITS.dataBytes)
    throw new Problem('too_large', `The input is larger than ${LIMITS.dataBytes} bytes.`, {
      field: 'input',
    });
  return text;
}

function checkName(name: string, field: string, most: number): void {
  if (/^[A-Za-z0-9_-]+$/.test(name) && name.length <= most) return;
  throw new Problem(
    'invalid',
    `Invalid value for '${field}': at most ${most} of letters, digits, _ and -.`,
    { field },
  );
}

function textOf(input: Json): string {
  try {
    return JSON.stringify(input);
  } catch (cause) {
    throw new Problem('invalid', "Invalid value for 'input': it is no JSON.", {
      field: 'input',
      cause,
    });
  }
}

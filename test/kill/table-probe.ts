import { openTable } from '../../local/table.ts';
import { callIn, testWorld } from '../contracts/calls.ts';

/** Exits 0 if each number is still there. A process of its own: a broken file may take its reader down. */
const [folder = '', numbers = ''] = process.argv.slice(2);
const table = openTable({ folder, world: testWorld() });
const call = callIn('killed00');
for (const n of numbers.split(',').filter(Boolean))
  if (!(await table.get(call, { pk: `A#${Number(n) % 50}`, sk: n }))) process.exit(1);
process.exit(0);

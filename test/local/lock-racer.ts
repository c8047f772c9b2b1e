import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { takeLock } from '../../local/lock.ts';

/** Tries for the folder as soon as it is told to, and says on stdout whether it has it; holds it until killed. */
const [, , data = ''] = process.argv;
process.once('message', () => {
  try {
    takeLock(data).publish(`http://127.0.0.1/${process.pid}`);
    writeFileSync(join(data, `won-${process.pid}`), '');
    process.send?.('won');
  } catch {
    process.send?.('lost');
  }
});
process.send?.('ready');
setInterval(() => {}, 1000);

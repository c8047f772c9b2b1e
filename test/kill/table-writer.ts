import { openTable } from '../../local/table.ts';
import { callIn, testWorld } from '../contracts/calls.ts';

/** The child of the kill tests: commits pairs and events without end, and says each number once it is acknowledged. */
const [folder = '', from = '0', lanes = '8', most = 'Infinity'] = process.argv.slice(2);
const table = openTable({ folder, world: testWorld(Date.parse('2026-01-01')), feeds: ['LOG#'] });
const call = callIn('killed00');
let next = Number(from);

async function lane(): Promise<void> {
  while (next < Number(most)) {
    const n = next++;
    const text = String(n).repeat(200);
    await table.commit(
      call,
      [
        { put: { pk: `A#${n % 50}`, sk: `${n}`, n, text }, if: 'absent' },
        { put: { pk: 'B', sk: `LOG#${n}`, n, text } },
        { put: { pk: 'LAST', sk: `${n % 7}`, n, text } },
      ],
      { type: 'test.write.made', subject: 'writes', data: { n } },
    );
    process.stdout.write(`${n}\n`);
  }
}

await Promise.all(Array.from({ length: Number(lanes) }, lane));
await table.close();

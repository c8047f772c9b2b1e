import { writeSync } from 'node:fs';
import { openBus } from '../../local/bus.ts';
import { openTable } from '../../local/table.ts';
import { callIn, testWorld } from '../contracts/calls.ts';

/** The child of the bus's kill test: commits events without end, and says which are acknowledged and which heard. */
const [folder = '', from = '0'] = process.argv.slice(2);
const world = testWorld();
const table = openTable({ folder, world });
const bus = openBus({
  table,
  world,
  folders: [],
  log: () => undefined,
  followers: [
    {
      name: 'listener',
      hears: ['*'],
      run: async (_call, { data }) => void writeSync(1, `heard ${(data as { n: number }).n} .\n`),
    },
  ],
});
bus.start();
for (let n = Number(from); ; n++) {
  const event = { type: 'test.write.made', subject: 'writes', data: { n } } as const;
  await table.commit(callIn('killed00'), [], event);
  writeSync(1, `said ${n} .\n`);
}

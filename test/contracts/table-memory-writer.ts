import { openTable } from '../../local/table.ts';
import { callIn, testWorld } from './calls.ts';

/** Another process on the same file: puts `v: 2` under the key and ends. */
const [folder = '', workspace = '', pk = '', sk = ''] = process.argv.slice(2);
const table = openTable({ folder, world: testWorld() });
await table.commit(callIn(workspace), [{ put: { pk, sk, v: 2 } }]);
await table.close();

import { installs } from './oracle.ts';

/** Installs all oracles, or those named: `node test/oracles/install.ts dynamodb moto`. */
const names = process.argv.slice(2);
for (const [name, install] of Object.entries(installs))
  if (names.length === 0 || names.includes(name)) console.log(`${name}: ${await install()}`);

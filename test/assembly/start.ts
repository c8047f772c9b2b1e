import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { readAssembly, synthesised } from './stack/assembly.ts';
import { startStack } from './stack/stack.ts';

/** `npm run stack -- --port P --data DIR`: what `cdk deploy` makes, on this machine, from `cdk.out` alone. */
const fail = (error: unknown): never => {
  process.stderr.write(`stack: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
};
try {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '5100' },
      data: { type: 'string', default: '.stillflow/stack' },
    },
  });
  const port = Number(values.port);
  if (!/^\d{1,5}$/.test(values.port) || port > 65_000)
    throw new Error(`--port must be 0 to 65000, got '${values.port}'`);
  const data = resolve(values.data);
  mkdirSync(data, { recursive: true });
  const stack = await startStack({
    assembly: readAssembly(synthesised()),
    data,
    port,
    log: (line) =>
      process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), ...line })}\n`),
  });
  const { accessKeyId, secretAccessKey } = stack.access.admin.keys;
  for (const [name, value] of Object.entries(stack.outputs))
    if (!name.includes('.ExportsOutput')) process.stdout.write(`${name} = ${value}\n`);
  process.stdout.write(
    [
      `export AWS_ENDPOINT_URL=${stack.gateway} AWS_REGION=eu-central-1`,
      `export AWS_ACCESS_KEY_ID=${accessKeyId} AWS_SECRET_ACCESS_KEY=${secretAccessKey}`,
      `npm run token:aws -- --table ${stack.outputs['stillflow-data.TableName']} --name me`,
      `Stack ready at ${stack.outputs['stillflow-api.Url']}`,
      '',
    ].join('\n'),
  );
  let stopping = false;
  const stop = () => {
    if (stopping) process.exit(1);
    stopping = true;
    stack.close().then(() => process.exit(0), fail);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
} catch (error) {
  fail(error);
}

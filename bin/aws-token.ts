import { parseArgs } from 'node:util';
import { systemCall } from '../functions/kernel/call.ts';
import { DEFAULT_WORKSPACE } from '../functions/kernel/ids.ts';
import { awsTable, realWorld, settingsOf } from '../functions/platform/aws/platform.ts';
import { workspacesRoom } from '../functions/workspaces/index.ts';
import { Role, TokenName } from '../functions/workspaces/model.ts';

/**
 * The first token of a deployment: written into its table with the deployer's own AWS credentials, so no secret is in a
 * template and nobody else can be first. `npm run token:aws -- --table NAME --name me`; it is printed this once.
 */
try {
  const { values } = parseArgs({
    options: {
      table: { type: 'string' },
      name: { type: 'string' },
      role: { type: 'string', default: 'admin' },
    },
  });
  const { table, name, role } = values;
  if (!table || !name) throw new Error('give --table (the output TableName) and --name');
  const { service } = workspacesRoom({
    table: awsTable(settingsOf({ STILLFLOW_TABLE: table })),
    world: realWorld,
  });
  const call = systemCall(DEFAULT_WORKSPACE, 'deployer', 'token', realWorld.now() + 30_000);
  const asked = { name: TokenName.parse(name), role: Role.parse(role) };
  process.stdout.write(`${(await service.createToken(call, asked)).token}\n`);
} catch (error) {
  process.stderr.write(`stillflow: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

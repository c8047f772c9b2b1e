#!/usr/bin/env node
import * as nodeModule from 'node:module';
import { resolve } from 'node:path';
import { defineCommand, runMain } from 'citty';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 13)) {
  process.stderr.write(
    `stillflow: Node ${process.versions.node} is too old; install Node 22.13 or newer (nodejs.org), or run the repository by its npm scripts\n`,
  );
  process.exit(1);
}
nodeModule.enableCompileCache();

const VERSION = '0.1.0';

const data = {
  type: 'string',
  description: 'The data folder',
  default: process.env['STILLFLOW_DATA'] ?? './.stillflow',
} as const;
const logLine = (line: Record<string, unknown>) =>
  process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), ...line })}\n`);

/** One line for a person, and exit 1; a stack only for what nobody foresaw. */
function fail(error: unknown): never {
  const text = error instanceof Error ? error.message : String(error);
  process.stderr.write(`stillflow: ${text}\n`);
  if (process.env['STILLFLOW_TRACE'] && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}

function portOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535)
    fail(new Error(`--port must be 0 to 65535, got '${text}'`));
  return port;
}

const start = defineCommand({
  meta: { name: 'start', description: 'Serve everything on this machine until Ctrl-C' },
  args: {
    data,
    host: {
      type: 'string',
      description: 'Address to bind',
      default: process.env['STILLFLOW_HOST'] ?? '127.0.0.1',
    },
    port: { type: 'string', description: 'Port; 0 for a free one (default 5000, or 5001 if busy)' },
    auth: { type: 'boolean', description: 'Ask for a token on loopback too', default: false },
    app: {
      type: 'string',
      description:
        'A folder with definitions of pipelines, endpoints and rules, as its CDK app deploys them',
    },
    'allowed-hosts': {
      type: 'string',
      description: 'More host names this server answers to, by comma',
    },
  },
  async run({ args }) {
    const { start: serve } = await import('../local/start.ts');
    const hosts = (args['allowed-hosts'] ?? process.env['MLFLOW_SERVER_ALLOWED_HOSTS'] ?? '')
      .split(',')
      .filter(Boolean);
    const port = portOf(args.port ?? process.env['STILLFLOW_PORT']);
    try {
      const server = await serve({
        host: args.host,
        port,
        data: args.data,
        auth: args.auth,
        hosts,
        ...(args.app === undefined ? {} : { app: args.app }),
        log: logLine,
      });
      process.stdout.write(`Stillflow ready at ${server.url}\n`);
      let stopping = false;
      const stop = () => {
        if (stopping) process.exit(1);
        stopping = true;
        server.stop().then(() => process.exit(0), fail);
      };
      process.on('SIGINT', stop);
      process.on('SIGTERM', stop);
    } catch (error) {
      fail(error);
    }
  },
});

const token = defineCommand({
  meta: { name: 'token', description: 'Create, list and revoke tokens' },
  subCommands: {
    create: defineCommand({
      meta: { name: 'create', description: 'Create a token; it is printed this once' },
      args: {
        data,
        name: { type: 'string', description: 'Who holds it', required: true },
        role: { type: 'string', description: 'admin, write or read', default: 'write' },
      },
      run: async ({ args }) => {
        const { createToken } = await import('../local/tokens.ts');
        const made = await createToken(args.data, args.name, args.role).catch(fail);
        process.stdout.write(`${made.token}\n`);
      },
    }),
    list: defineCommand({
      meta: { name: 'list', description: 'List tokens, without their secrets' },
      args: { data },
      run: async ({ args }) => {
        const { listTokens } = await import('../local/tokens.ts');
        for (const held of await listTokens(args.data).catch(fail))
          process.stdout.write(
            `${held.id}\t${held.role}\t${held.name}\t${new Date(held.createdAt).toISOString()}\n`,
          );
      },
    }),
    revoke: defineCommand({
      meta: { name: 'revoke', description: 'Refuse a token from now on' },
      args: {
        data,
        id: { type: 'positional', description: 'The id that list shows', required: true },
      },
      run: async ({ args }) => {
        const { revokeToken } = await import('../local/tokens.ts');
        await revokeToken(args.data, args.id).catch(fail);
      },
    }),
  },
});

const env = defineCommand({
  meta: { name: 'env', description: 'Print what clients need: eval "$(stillflow env)"' },
  args: {
    data,
    url: { type: 'string', description: 'A server elsewhere: the output Url of a deployment' },
    sigv4: {
      type: 'boolean',
      description: 'The url is the output SignedUrl: sign with AWS credentials',
      default: false,
    },
  },
  async run({ args }) {
    const { clientEnv } = await import('../local/env.ts');
    const { data: folder, url, sigv4 } = args;
    const token = process.env['MLFLOW_TRACKING_TOKEN'];
    process.stdout.write(await clientEnv({ data: folder, url, sigv4, token }).catch(fail));
  },
});

const audit = defineCommand({
  meta: { name: 'audit', description: 'What happened, and whether that is all' },
  subCommands: {
    verify: defineCommand({
      meta: {
        name: 'verify',
        description: 'Check each chain and the anchors; exit 1 names what was tampered with',
      },
      args: {
        data,
        url: { type: 'string', description: 'A server elsewhere; MLFLOW_TRACKING_TOKEN opens it' },
        kept: {
          type: 'string',
          description: 'An anchor that was kept elsewhere, <number>:<hash>, to be found again',
        },
      },
      async run({ args }) {
        const { verifyAudit } = await import('../local/audit.ts');
        const whole = await verifyAudit({
          data: args.data,
          url: args.url,
          kept: args.kept,
          token: process.env['MLFLOW_TRACKING_TOKEN'],
          write: (line) => process.stdout.write(`${line}\n`),
        }).catch(fail);
        process.exit(whole ? 0 : 1);
      },
    }),
  },
});

const doctor = defineCommand({
  meta: {
    name: 'doctor',
    description:
      'Look at what a server stands on, change nothing, say what to do; exit 1 if a check fails',
  },
  args: {
    data,
    port: { type: 'string', description: 'The port that a start would take' },
    deep: {
      type: 'boolean',
      description: 'Read all records and files of the data folder, and the audit',
      default: false,
    },
    aws: {
      type: 'boolean',
      description: 'The deployment in your AWS account and region instead, by its own API calls',
      default: false,
    },
    json: { type: 'boolean', description: 'What was found as one JSON object', default: false },
  },
  async run({ args }) {
    const { examine } = await import('../local/doctor_checks.ts');
    const write = (line: string) => process.stdout.write(`${line}\n`);
    const asked = { data: args.data, port: portOf(args.port), version: VERSION };
    const healthy = await (args.aws ? accountChecks() : hereChecks(asked, args.deep))
      .then((checks) => examine(checks, { write, json: args.json }))
      .catch(fail);
    process.exit(healthy ? 0 : 1);
  },
});

async function hereChecks(
  asked: { data: string; port: number | undefined; version: string },
  deep: boolean,
) {
  const { machineChecks } = await import('../local/doctor.ts');
  const { deepChecks } = await import('../local/doctor_deep.ts');
  const checks = machineChecks({ ...asked, env: process.env, now: Date.now });
  return deep ? [...checks, ...deepChecks(asked.data, Date.now)] : checks;
}

/** AWS's clients are no part of what a server needs: they load here and nowhere else. */
async function accountChecks() {
  const loaded = await import('./doctor-aws.ts').catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new Error(
      "--aws needs AWS's clients, which are not installed here: run 'npm ci' with development dependencies, or use the published package, which holds them",
      { cause },
    );
  });
  return loaded.accountChecks(loaded.clients());
}

const demo = defineCommand({
  meta: { name: 'demo', description: 'Play demand forecasting from data to retraining by events' },
  args: {
    data: {
      type: 'string',
      description: 'The data folder; a server that runs on it is used, and never killed',
      default: process.env['STILLFLOW_DATA'] ?? './.stillflow/demo',
    },
    port: {
      type: 'string',
      description: 'Port of the server it starts; 0 for a free one',
      default: '0',
    },
    url: { type: 'string', description: 'A server that runs already, to be used instead' },
    exit: {
      type: 'boolean',
      description: 'End after the play: 0 if all it claims held',
      default: false,
    },
    chaos: {
      type: 'boolean',
      description: 'Kill the server in the middle',
      negativeDescription: 'Let the server live',
      default: true,
    },
    json: {
      type: 'boolean',
      description: 'What came of it as JSON, in the last line',
      default: false,
    },
  },
  async run({ args }) {
    const { demo: perform } = await import('../local/demo.ts');
    const { data: folder, url, exit, chaos, json } = args;
    const held = await perform({
      data: resolve(folder),
      port: portOf(args.port) ?? 0,
      url,
      exit,
      chaos,
      json,
      env: process.env,
      command: process.argv[1] ?? '',
      write: (text) => process.stdout.write(text),
    }).catch(fail);
    process.exit(held || !exit ? 0 : 1);
  },
});

await runMain(
  defineCommand({
    meta: {
      name: 'stillflow',
      version: VERSION,
      description: 'MLOps on one machine or in your AWS account',
    },
    subCommands: { start, demo, env, token, audit, doctor },
  }),
);

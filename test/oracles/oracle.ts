import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** Independent servers that our AWS adapters are held against; installed once under .cache/oracles. aws.md section 1.6. */
export interface Oracle {
  readonly url: string;
  stop(): Promise<void>;
}

const here = import.meta.dirname;
const cache = join(here, '..', '..', '.cache', 'oracles');
const run = promisify(execFile);

/** Installs into a folder of its own and moves it into place whole, so that a cut-off install is done again. */
async function installed(
  name: string,
  install: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  await mkdir(cache, { recursive: true });
  const half = await mkdtemp(join(cache, 'half-'));
  await install(half);
  await rename(half, folder).catch((error) => {
    // Another process was faster.
    if (!existsSync(folder)) throw error;
  });
  await rm(half, { recursive: true, force: true });
  return folder;
}

const installDynamo = () =>
  installed('dynamodb-3.3.1', async (folder) => {
    const pom = join(here, 'dynamodb.pom.xml');
    const to = `-DoutputDirectory=${join(folder, 'lib')}`;
    await run('mvn', ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', to]);
  });

const installVersity = () =>
  installed('versitygw-1.8.0', async (folder) => {
    const env = { ...process.env, GOBIN: folder };
    await run('go', ['install', 'github.com/versity/versitygw/cmd/versitygw@v1.8.0'], { env });
  });

const installMoto = () =>
  installed('moto-5.2.5', async (folder) => {
    await run('python3', ['-m', 'venv', '--copies', folder]);
    const pip = join(folder, 'bin', 'python');
    await run(pip, [
      '-m',
      'pip',
      'install',
      '-q',
      'moto[server,stepfunctions]==5.2.5',
      'jsonata-python==0.7.1',
    ]);
  });

export const installs = { dynamodb: installDynamo, versitygw: installVersity, moto: installMoto };

/** In memory, or kept in a folder that is there. */
export async function startDynamo(kept?: string): Promise<Oracle> {
  const lib = join(await installDynamo(), 'lib');
  const port = await freePort();
  const main = 'software.amazon.dynamodb.services.local.main.ServerRunner';
  const options = ['-Xmx512m', `-Djava.library.path=${lib}`, '-cp', join(lib, '*'), main];
  const child = spawn(
    'java',
    [
      ...options,
      ...(kept === undefined ? ['-inMemory'] : ['-dbPath', kept]),
      ...['-port', String(port), '-disableTelemetry'],
    ],
    { stdio: 'ignore' },
  );
  return ready(child, `http://127.0.0.1:${port}`);
}

export const S3_KEYS = { accessKeyId: 'oracle-access', secretAccessKey: 'oracle-secret-key' };

/** Over a folder of its own that goes with it, or one that is there and stays. */
export async function startVersity(kept?: string): Promise<Oracle> {
  const bin = join(await installVersity(), 'versitygw');
  const port = await freePort();
  const folder = kept ?? (await mkdtemp(join(tmpdir(), 'stillflow-versity-')));
  const env = {
    ...process.env,
    ROOT_ACCESS_KEY: S3_KEYS.accessKeyId,
    ROOT_SECRET_KEY: S3_KEYS.secretAccessKey,
  };
  const child = spawn(bin, ['--port', `127.0.0.1:${port}`, 'posix', folder], {
    env,
    stdio: 'ignore',
  });
  const oracle = await ready(child, `http://127.0.0.1:${port}`);
  return {
    url: oracle.url,
    async stop() {
      await oracle.stop();
      if (kept === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function startMoto(): Promise<Oracle> {
  const python = join(await installMoto(), 'bin', 'python');
  const port = await freePort();
  const child = spawn(python, ['-I', join(here, 'moto.py'), String(port)], { stdio: 'ignore' });
  return ready(child, `http://127.0.0.1:${port}`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

const START_MS = 60_000;

async function ready(child: ChildProcess, url: string): Promise<Oracle> {
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  };
  const last = process.hrtime.bigint() + BigInt(START_MS) * 1_000_000n;
  for (;;) {
    // Any answer will do: what speaks HTTP has started.
    if (
      await fetch(url).then(
        (answer) => answer.body?.cancel().then(() => true) ?? true,
        () => false,
      )
    )
      return { url, stop };
    if (child.exitCode !== null || process.hrtime.bigint() > last) {
      await stop();
      throw new Error(`${dirname(child.spawnfile)} did not start at ${url}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

import { resolve } from 'node:path';
import { runningServer } from './lock.ts';

export interface EnvOptions {
  /** Whose `server.json` says the address, where no `url` does. */
  readonly data: string;
  readonly url: string | undefined;
  /** The address is the output SignedUrl of a deployment: clients sign with their AWS credentials. */
  readonly sigv4: boolean;
  /** The token that is in the environment already. */
  readonly token: string | undefined;
}

/** What Lambda and the gateway pass on as one body; base64 takes a quarter of 6 MB. Source: aws.md section 3.2. */
const LARGEST_BODY_BYTES = 4_000_000;
const PATIENCE_MS = 5000;

/**
 * What clients need in their environment to speak to a server, as lines for a shell: `eval "$(stillflow env)"`. Lines
 * with `#` are for people. Throws if nothing of ours answers there.
 */
export async function clientEnv({ data, url, sigv4, token }: EnvOptions): Promise<string> {
  const address = addressOf(url, data);
  const lines = [line('MLFLOW_TRACKING_URI', address)];
  if (sigv4) {
    lines.push(line('MLFLOW_TRACKING_AWS_SIGV4', 'true'));
    lines.push(
      '# pip install requests-auth-aws-sigv4; artifacts go to S3 with the same credentials',
    );
    return text(lines);
  }
  lines.push(line('KF_PIPELINES_ENDPOINT', address));
  if (url !== undefined) {
    // Older clients do not read in server-info that uploads may come in parts.
    lines.push(line('MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD', 'true'));
    lines.push(line('MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE', String(LARGEST_BODY_BYTES)));
  }
  if (await asksForToken(address, token))
    lines.push(
      '# export MLFLOW_TRACKING_TOKEN=sf_...   this server asks for a token: stillflow token create',
    );
  return text(lines);
}

const text = (lines: readonly string[]) => `${lines.join('\n')}\n`;

function addressOf(url: string | undefined, data: string): string {
  if (url === undefined) {
    const found = runningServer(resolve(data))?.url;
    if (!found) throw new Error(`no server runs on ${data}: start one, or give --data or --url`);
    return found;
  }
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol) || parsed.username || parsed.password)
    throw new Error(`--url must be http://.. or https://.. without a user, got '${url}'`);
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`;
}

/** Quoted for any POSIX shell, whatever the value holds. */
const line = (name: string, value: string) => `export ${name}='${value.replaceAll("'", `'\\''`)}'`;

async function asksForToken(address: string, token: string | undefined): Promise<boolean> {
  const headers = token ? { authorization: `Bearer ${token}` } : undefined;
  const path = '/api/2.0/mlflow/experiments/get?experiment_id=0';
  const answer = await fetch(`${address}${path}`, {
    signal: AbortSignal.timeout(PATIENCE_MS),
    redirect: 'error',
    ...(headers ? { headers } : {}),
  }).catch((cause: unknown) => {
    throw new Error(`nothing answers at ${address}`, { cause });
  });
  await answer.body?.cancel();
  if (answer.status !== 200 && answer.status !== 401)
    throw new Error(`what answers at ${address} speaks no MLflow: ${answer.status}`);
  return answer.status === 401;
}

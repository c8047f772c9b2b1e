import {
  type CloudWatchLogsClient,
  DescribeLogStreamsCommand,
  GetLogEventsCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import { problemOf } from './faults.ts';

const MAX_STREAMS = 50;

/**
 * The lines of all log streams below a prefix, one stream after the other, from where `after` left off: it holds the
 * token that CloudWatch gave for each stream. Tokens live for a day; an older one starts that stream anew.
 */
export async function readStreams(
  client: CloudWatchLogsClient,
  asked: { group: string; prefix: string; after: string | undefined },
): Promise<{ lines: string[]; next: string }> {
  const tokens = readTokens(asked.after);
  const streams = await streamsOf(client, asked.group, asked.prefix);
  const lines: string[] = [];
  for (const stream of streams) {
    const label = streams.length > 1 ? `[${nodeOf(stream)}] ` : '';
    const read = await readStream(client, asked.group, stream, tokens[stream]);
    lines.push(...read.lines.map((line) => label + line));
    if (read.token !== undefined) tokens[stream] = read.token;
  }
  return { lines, next: `s${Buffer.from(JSON.stringify(tokens)).toString('base64url')}` };
}

/** `team0001-train/algo-2-1700000000` is algo-2. */
const nodeOf = (stream: string) => /algo-\d+/.exec(stream)?.[0] ?? stream;

function readTokens(after: string | undefined): Record<string, string> {
  if (!after) return {};
  try {
    const value: unknown = JSON.parse(Buffer.from(after.slice(1), 'base64url').toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, string>) : {};
  } catch {
    return {};
  }
}

async function streamsOf(client: CloudWatchLogsClient, logGroupName: string, prefix: string) {
  try {
    const { logStreams = [] } = await client.send(
      new DescribeLogStreamsCommand({
        logGroupName,
        ...(prefix === '' ? {} : { logStreamNamePrefix: prefix }),
        limit: MAX_STREAMS,
      }),
    );
    return logStreams.flatMap(({ logStreamName }) => logStreamName ?? []).sort();
  } catch (error) {
    if (error instanceof Error && error.name === 'ResourceNotFoundException') return [];
    throw problemOf(error, 'The log');
  }
}

async function readStream(
  client: CloudWatchLogsClient,
  logGroupName: string,
  logStreamName: string,
  nextToken: string | undefined,
): Promise<{ lines: string[]; token: string | undefined }> {
  const ask = (token: string | undefined) =>
    client.send(
      new GetLogEventsCommand({
        logGroupName,
        logStreamName,
        startFromHead: true,
        ...(token === undefined ? {} : { nextToken: token }),
      }),
    );
  try {
    const { events = [], nextForwardToken } = await ask(nextToken).catch((error: unknown) => {
      const expired = error instanceof Error && error.name === 'InvalidParameterException';
      if (!expired || nextToken === undefined) throw error;
      return ask(undefined);
    });
    return { lines: events.map(({ message }) => message ?? ''), token: nextForwardToken };
  } catch (error) {
    throw problemOf(error, 'The log');
  }
}

import { type Access, AwsError, arnOf, type Caller } from './access.ts';
import { fields, text } from './values.ts';

export interface LogSource {
  lines(full: string, after?: string): Promise<{ lines: string[]; next: string }>;
}

/** CloudWatch Logs as far as SageMaker's groups go: a job's streams, an endpoint's. */
export function logsService(access: Access, jobs: LogSource, endpoints: LogSource) {
  const of = (group: string) => {
    const endpoint = /^\/aws\/sagemaker\/Endpoints\/(.+)$/.exec(group)?.[1];
    if (endpoint) return { source: endpoints, full: () => endpoint, stream: () => 'all/stack' };
    if (!/^\/aws\/sagemaker\/(Training|Processing)Jobs$/.test(group))
      throw new AwsError('ResourceNotFoundException', 'The specified log group does not exist.');
    const full = (name: string) => name.split('/')[0] ?? '';
    return { source: jobs, full, stream: (name: string) => `${full(name)}/algo-1-1` };
  };
  return async (caller: Caller, operation: string, body: Buffer): Promise<unknown> => {
    const asked = fields(JSON.parse(body.toString()));
    const group = text(asked['logGroupName']);
    const stream = text(asked['logStreamName']);
    const resource = arnOf('logs', `log-group:${group}:log-stream:${stream}`);
    access.check(caller, { action: `logs:${operation}`, resource });
    const { source, full, stream: named } = of(group);
    if (operation === 'DescribeLogStreams') {
      if (asked['logStreamNamePrefix'] === '')
        throw new AwsError(
          'InvalidParameterException',
          'logStreamNamePrefix: at least 1 character',
        );
      const name = text(asked['logStreamNamePrefix']);
      const { lines } = await source.lines(full(name));
      return { logStreams: lines.length ? [{ logStreamName: named(name) }] : [] };
    }
    if (operation !== 'GetLogEvents')
      throw new AwsError(
        'UnknownOperationException',
        `npm run stack does not know logs:${operation}`,
      );
    const { lines, next } = await source.lines(
      full(stream),
      text(asked['nextToken']).slice(2) || undefined,
    );
    return {
      events: lines.map((message) => ({ message, timestamp: 0 })),
      nextForwardToken: `f/${next}`,
    };
  };
}

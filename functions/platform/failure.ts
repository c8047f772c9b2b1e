/** How a state of a machine ended, as its Catch hands it on. */
export interface Ended {
  readonly error?: string | undefined;
  readonly cause?: string | undefined;
}
type Fields = Readonly<Record<string, unknown>>;

/** An execution that ran an execution that ran ..: deeper than any machine of ours. */
const DEEPEST = 8;

/**
 * Why a state failed, as one text for people; undefined if nobody said. What people see is the same in both worlds: on
 * one machine the cause is such a text already, in an account it is JSON around one. Pure.
 *
 * Source: AWS Step Functions Developer Guide, "Handling errors in workflows" (a function's cause holds errorType and
 * errorMessage), "Service integration patterns" (that of a `.sync` is what Describe answers; an execution's has its own
 * Error and Cause); AWS Lambda Developer Guide, "Errors" (Sandbox.Timedout, Runtime.ExitError). Recorded in
 * test/platform/failure.test.ts.
 */
export const reasonOf = (ended: Ended): string | undefined => read(ended, DEEPEST);

function read({ error, cause }: Ended, deeper: number): string | undefined {
  const text = cause?.trim();
  if (!text) return error && (NAMED[error] ?? error);
  const told = fieldsOf(text);
  if (!told) return quotaOf(text) ?? worded(cutOff(text) ?? text.replace(REQUEST, '$1'));
  const message = textOf(told, 'errorMessage') ?? textOf(told, 'message');
  if (message !== undefined) return worded(message);
  const job = jobOf(told);
  if (job !== undefined) return job;
  const [innerError, innerCause] = [textOf(told, 'Error'), textOf(told, 'Cause')];
  if ((innerError ?? innerCause) !== undefined && deeper > 0)
    return read({ error: innerError, cause: innerCause }, deeper - 1);
  const type = textOf(told, 'errorType');
  if (type !== undefined) return type;
  // AWS Batch: how the last attempt of a job ended.
  const reason = textOf(told, 'StatusReason');
  if (reason !== undefined) return reason;
  const status = textOf(told, 'Status');
  return status === undefined ? text : `The execution ended ${status}.`;
}

/** Names that Step Functions gives without more words. */
const NAMED: Readonly<Record<string, string>> = {
  'States.Timeout': 'It ran past its time limit.',
  'States.HeartbeatTimeout': 'It gave no sign of life within its time limit.',
  'States.TaskFailed': 'The task failed without saying why.',
  'States.DataLimitExceeded': 'What it answered is larger than a state machine can hand on.',
};

const textOf = (fields: Fields, name: string): string | undefined => {
  const value = fields[name];
  return typeof value === 'string' && value.trim() !== '' ? value : undefined;
};

function fieldsOf(text: string): Fields | undefined {
  // Lambda could not tell the type: "...Returned payload: {"errorMessage":".."}".
  const [, wrapped] = /Returned payload: (\{[\s\S]*\})$/.exec(text) ?? [];
  const json = wrapped ?? text;
  if (!json.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
}

/** A cause ends after 32,768 characters, be it in the middle of its JSON: a function's message comes first. */
function cutOff(text: string): string | undefined {
  const [, quoted] =
    /^\{[\s\S]{0,2000}?"(?:errorMessage|FailureReason)":"((?:[^"\\]|\\.)*)/.exec(text) ?? [];
  if (quoted === undefined) return undefined;
  try {
    return JSON.parse(`"${quoted}"`) as string;
  } catch {
    return quoted;
  }
}

/** What an AWS SDK adds to its words: `(Service: SageMaker, Status Code: 400, Request ID: ..)`. */
const REQUEST = /([\s\S]+?)\s*\((?:Service: [^()]*|Request ID: [^()]*)\)$/;

/** Lambda's own words for what no code of the function could say. */
function worded(message: string): string {
  const text = message
    .trim()
    .replace(/^(?:[\d:.TZ-]+ [\da-f-]{36}|RequestId: [\da-f-]+ Error:)\s+/, '');
  const [, seconds] = /^Task timed out after ([\d.]+) seconds$/.exec(text) ?? [];
  if (seconds) return `It ran past the function's limit of ${Number(seconds)} seconds.`;
  if (/^Runtime exited with error: signal: killed$/.test(text))
    return 'The function was killed, as happens when its memory runs out.';
  const [, status] = /^Runtime exited with error: exit status (\d+)$/.exec(text) ?? [];
  return status ? `The function ended by itself with exit code ${status}.` : text;
}

/** What DescribeTrainingJob and DescribeProcessingJob say. */
function jobOf(told: Fields): string | undefined {
  const status = textOf(told, 'TrainingJobStatus') ?? textOf(told, 'ProcessingJobStatus');
  if (status === undefined) return undefined;
  if (textOf(told, 'SecondaryStatus') === 'MaxRuntimeExceeded') return LATE;
  if (textOf(told, 'SecondaryStatus') === 'MaxWaitTimeExceeded') return NEVER_CAME;
  const short = shortageOf(told);
  if (short !== undefined) return short;
  const said = failureOf(textOf(told, 'FailureReason'), textOf(told, 'ExitMessage'));
  return said.failure ?? `The job ended ${status.toLowerCase()}.`;
}

/** Where SageMaker says which instances it tried, in Describe's answer. */
const clusterOf = (told: Fields): Fields => {
  const within = (fields: Fields, name: string) => (fields[name] ?? {}) as Fields;
  return told['ResourceConfig'] === undefined
    ? within(within(told, 'ProcessingResources'), 'ClusterConfig')
    : within(told, 'ResourceConfig');
};

/**
 * If a job ended since no instance was to be had: which were tried, in words. A program's own failure begins with
 * AlgorithmError, so its words cannot be taken for it.
 * Source: SageMaker developer guide, "Troubleshooting": CapacityError, InsufficientCapacity (not verified on an account).
 */
export function shortageOf(told: Fields): string | undefined {
  const reason = textOf(told, 'FailureReason');
  if (!reason || !/^(CapacityError|Insufficient\w*Capacity\w*)\b/.test(reason)) return undefined;
  const cluster = clusterOf(told);
  const listed = (cluster['InstancePreferences'] ?? []) as Fields[];
  const types = listed.flatMap((one) => textOf(one, 'InstanceType') ?? []);
  const only = textOf(cluster, 'InstanceType');
  const tried = types.length > 0 ? types : only ? [only] : [];
  const which = tried.length > 0 ? `no ${listOf(tried)}` : 'no instance of this kind';
  return `SageMaker had ${which} free in this region when the job was to start; it never ran. Start it again later, or ask for another accelerator, fewer of them, or fewer nodes.`;
}

const listOf = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and no ${names.at(-1)}`;

/**
 * A quota that is used up, in words with its name; undefined if `message` tells of none.
 * Source: SageMaker's ResourceLimitExceeded, as in zenml-io/zenml#847: "The account-level service limit 'ml.g5.xlarge for
 * training job usage' is 0 Instances, with current utilization of 0 Instances and a request delta of 1 Instances."
 */
export function quotaOf(message: string): string | undefined {
  const [, name, limit, used, asked] =
    /service limit '([^']+)' is (\d+)[^,]*, with current utilization of (\d+).*?request delta of (\d+)/s.exec(
      message,
    ) ?? [];
  if (name === undefined) return undefined;
  const much = `The quota '${name}' of this account is ${limit}, ${used} of it in use, and this asks for ${asked} more.`;
  const fix =
    limit === '0'
      ? 'New accounts begin with 0 here'
      : Number(asked) > Number(limit)
        ? 'That can never be met'
        : 'It is free again when others end';
  return `${much} ${fix}: ask for more in the Service Quotas console under Amazon SageMaker, by that name.`;
}

/** A spot job that waited for a machine to the end of its time. */
export const NEVER_CAME =
  'No spot machine came in the time that the job could wait. Start it again later, or without spot.';

export const LATE = 'The job ran past its deadline and was stopped.';

/** SageMaker's words around a failure file: `AlgorithmError: <text>, exit code: 7`; the text may be empty. */
const ALGORITHM = /^AlgorithmError:\s*([\s\S]*?)(?:,\s*)?exit code: (\d+)$/i;

/**
 * What a job's FailureReason says without SageMaker's words around it. `exitMessage` is a processing job's own word,
 * which wins over a reason that says no more than the code.
 */
export function failureOf(
  reason: string | undefined,
  exitMessage?: string,
): { failure?: string; exitCode?: number } {
  const [, text, code] = ALGORITHM.exec(reason ?? '') ?? [];
  const silent = code === undefined ? undefined : `The command ended with exit code ${code}.`;
  // As it stands in the failure file, blanks included.
  const failure = [text, exitMessage, silent ?? reason].find((one) => one?.trim());
  return {
    ...(failure ? { failure } : {}),
    ...(code === undefined ? {} : { exitCode: Number(code) }),
  };
}

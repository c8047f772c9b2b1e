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
  if (!told) return worded(cutOff(text) ?? text.replace(REQUEST, '$1'));
  const message = textOf(told, 'errorMessage') ?? textOf(told, 'message');
  if (message !== undefined) return worded(message);
  const job = jobOf(told);
  if (job !== undefined) return job;
  const [innerError, innerCause] = [textOf(told, 'Error'), textOf(told, 'Cause')];
  if ((innerError ?? innerCause) !== undefined && deeper > 0)
    return read({ error: innerError, cause: innerCause }, deeper - 1);
  const type = textOf(told, 'errorType');
  if (type !== undefined) return type;
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
  const said = failureOf(textOf(told, 'FailureReason'), textOf(told, 'ExitMessage'));
  return said.failure ?? `The job ended ${status.toLowerCase()}.`;
}

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

/**
 * List prices in US dollars, of us-east-1, on demand, without any free tier but those named in `free`.
 * As of November 2026. Source: the pricing pages of each service as the design's notes have them (aws.md section 2);
 * nobody has looked at a bill: check them, and those of your region, before you rely on a figure.
 */
export const PRICES = {
  asOf: 'November 2026',
  region: 'us-east-1',
  /** Each million. */
  million: {
    httpRequests: 1,
    functionCalls: 0.2,
    /** 4 KB read strongly. */
    tableReads: 0.125,
    /** 1 KB written; a transaction asks for twice as many. */
    tableWrites: 0.625,
    /** GET and HEAD. */
    blobGets: 0.4,
    /** PUT and LIST. */
    blobPuts: 5,
    states: 25,
    busEvents: 1,
    queueRequests: 0.4,
    scheduledCalls: 1,
  },
  /** Of a function on arm64, each GB that it has, each second that it runs. */
  functionGbSecond: 0.0000133334,
  /** Each GB kept for a month, or taken in. */
  gb: { table: 0.25, tableRecovery: 0.2, blobs: 0.023, logsKept: 0.03, logsTaken: 0.5 },
  /** Each month. */
  month: { alarm: 0.1, key: 1, dashboard: 3, secret: 0.4 },
  /** What nobody is billed for, each month and account. Source: as above, "always free". */
  free: {
    alarms: 10,
    dashboards: 3,
    queueRequests: 1_000_000,
    scheduledCalls: 14_000_000,
    functionCalls: 1_000_000,
    functionGbSeconds: 400_000,
    tableGb: 25,
  },
} as const;

/**
 * What no template and no count says: how long our functions run, which nobody has measured on AWS, and how Lambda
 * polls a queue that is empty: five at a time, twenty seconds each. Source: Lambda developer guide, "Using Lambda with
 * Amazon SQS" (verify: AWS may poll less).
 */
export const ASSUMED = {
  milliseconds: {
    requests: 60,
    authorizer: 15,
    followers: 100,
    folds: 100,
    relay: 50,
    tasks: 150,
    steps: 5_000,
    tick: 100,
  },
  /** Of a step beyond the count: a light one in the zip runner. */
  pollers: 5,
  pollSeconds: 20,
  /** What one call of a function writes to its log. */
  logBytes: 600,
} as const;

export const MONTH_SECONDS = 30 * 86_400;

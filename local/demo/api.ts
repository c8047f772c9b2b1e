import { setTimeout as delay } from 'node:timers/promises';
import * as z from 'zod';

/** What the demo reads of the server's answers. */
const Retraining = z.object({
  id: z.string(),
  state: z.enum(['running', 'promoted', 'kept', 'refused', 'failed']),
  reason: z.string().optional(),
  runId: z.string().optional(),
  cause: z.object({ id: z.string(), subject: z.string() }).optional(),
  decision: z
    .object({
      version: z.number().optional(),
      champion: z.number().optional(),
      before: z.number().optional(),
      after: z.number().optional(),
    })
    .optional(),
});
export type Retraining = z.infer<typeof Retraining>;
const Retrainings = z.object({
  retrainings: z.array(Retraining),
  nextPageToken: z.string().optional(),
});
const Task = z.object({
  display_name: z.string(),
  state: z.string(),
  start_time: z.string().optional(),
  end_time: z.string().optional(),
  output_parameters: z.record(z.string(), z.unknown()).default({}),
});
const Run = z.object({
  state: z.string(),
  run_details: z.object({ task_details: z.array(Task).default([]) }).optional(),
});
export type Run = z.infer<typeof Run>;
const Endpoint = z.object({
  state: z.string(),
  version: z.number().optional(),
  failure: z.string().optional(),
});
const Drops = z.object({ data: z.array(z.object({ path: z.string() })) });
const Firings = z.object({
  firings: z.array(z.object({ outcome: z.string(), cause: z.object({ subject: z.string() }) })),
  nextPageToken: z.string().optional(),
});
const Version = z.object({
  model_version: z.object({
    version: z.string(),
    tags: z.array(z.object({ key: z.string(), value: z.string() })).default([]),
  }),
});

const UNREACHED_MS = 60_000;
const PAUSE_MS = 300;
/** Longer lists than this many pages are no demo's. */
const PAGES = 50;

export type Api = ReturnType<typeof demoApi>;

/** The server's plain REST face and what little the demo needs of MLflow's and KFP's. */
export function demoApi(url: string, token: string | undefined) {
  /** Asks again for as long as nobody listens: all that is asked here may be repeated. */
  async function send(method: string, path: string, body?: BodyInit, type = 'application/json') {
    const headers = { 'content-type': type, ...(token && { authorization: `Bearer ${token}` }) };
    const init = { method, headers, ...(body === undefined ? {} : { body }) };
    const deadline = performance.now() + UNREACHED_MS;
    for (;;) {
      try {
        return await fetch(url + path, init);
      } catch (error) {
        if (performance.now() > deadline)
          throw new Error(`nobody answers at ${url}`, { cause: error });
        await delay(PAUSE_MS);
      }
    }
  }

  async function ask(method: string, path: string, body?: BodyInit, type?: string) {
    const answer = await send(method, path, body, type);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 500)}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  async function pages<T>(path: string, read: (answer: unknown) => { items: T[]; next?: string }) {
    const all: T[] = [];
    let token: string | undefined;
    for (let page = 0; page < PAGES; page += 1) {
      const query = token === undefined ? '' : `&pageToken=${encodeURIComponent(token)}`;
      const { items, next } = read(await ask('GET', `${path}?limit=100${query}`));
      all.push(...items);
      if (next === undefined) break;
      token = next;
    }
    return all;
  }

  return {
    url,
    token,
    drop: (path: string, bytes: Buffer<ArrayBuffer>) =>
      ask('PUT', `/api/data/${path}`, bytes, 'text/csv'),
    async listData(folder: string): Promise<string[]> {
      const { data } = Drops.parse(await ask('GET', `/api/data?folder=${folder}&limit=100`));
      return data.map(({ path }) => path);
    },
    put: (path: string, value: unknown) => ask('PUT', path, JSON.stringify(value)),
    run: async (id: string) => Run.parse(await ask('GET', `/apis/v2beta1/runs/${id}`)),
    endpoint: async (name: string) => Endpoint.parse(await ask('GET', `/api/endpoints/${name}`)),
    retrainings: () =>
      pages('/api/retrainings', (answer) => {
        const { retrainings: items, nextPageToken: next } = Retrainings.parse(answer);
        return { items, ...(next === undefined ? {} : { next }) };
      }),
    firings: (rule: string) =>
      pages(`/api/rules/${rule}/firings`, (answer) => {
        const { firings: items, nextPageToken: next } = Firings.parse(answer);
        return { items, ...(next === undefined ? {} : { next }) };
      }),
    /** The champion and what its registration says of it; undefined before the first. */
    async champion(model: string) {
      const path = `/api/2.0/mlflow/registered-models/alias?name=${model}&alias=champion`;
      const answer = await send('GET', path);
      if (answer.status === 400 || answer.status === 404) return undefined;
      const { model_version: found } = Version.parse(await answer.json());
      const tags = Object.fromEntries(found.tags.map(({ key, value }) => [key, value]));
      return { version: Number(found.version), tags };
    },
  };
}

/** What `check` finds, once it finds it. Throws after the time, saying what was waited for. */
export async function until<T>(
  what: string,
  timeoutSeconds: number,
  check: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + timeoutSeconds * 1000;
  for (;;) {
    const found = await check();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutSeconds} s`);
    await delay(PAUSE_MS);
  }
}

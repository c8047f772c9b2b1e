import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { artifactsRoom } from '../../functions/artifacts/index.ts';
import type { Told } from '../../functions/kernel/event.ts';
import { mount } from '../../functions/kernel/hallway.ts';
import type { WorkspaceId } from '../../functions/kernel/ids.ts';
import type { Platform } from '../../functions/platform/ports.ts';
import { trackingRoom } from '../../functions/tracking/index.ts';
import type { RunId } from '../../functions/tracking/model.ts';
import { registryOver } from '../../functions/wire.ts';
import { openBlobs } from '../../local/blobs.ts';
import { openTable } from '../../local/table.ts';
import { testCall, testWorld } from '../world.ts';

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the wire says.
type Any = any;
export interface Answer {
  readonly status: number;
  readonly body: Any;
  readonly text: string;
  readonly headers: Headers;
}
export interface Ask {
  readonly body?: unknown;
  readonly raw?: BodyInit;
  readonly headers?: Record<string, string>;
  /** A workspace of 8 characters. */
  readonly who?: string;
}

export type House = ReturnType<typeof openHouse>;

/** Artifacts, tracking and registry behind the real hallway, on the embedded table and a folder. */
export function openHouse(
  options: {
    artifacts?: 'proxy' | 'direct';
    bodyBytes?: number;
    /** As behind a gateway, whose answers are no larger. */
    largestAnswerBytes?: number;
  } = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'stillflow-house-'));
  const world = testWorld(11);
  const secret = new Uint8Array(32).fill(7);
  const url = 'http://localhost';
  const table = openTable({ folder: join(folder, 'table'), world, noSync: true });
  const { largestAnswerBytes } = options;
  const blobs = {
    ...openBlobs({ folder: join(folder, 'blobs'), world, secret, url }),
    ...(largestAnswerBytes === undefined ? {} : { largestAnswerBytes }),
  };
  const platform = { table, blobs, world, secret, artifacts: options.artifacts ?? 'proxy' };
  const rootOf = (call: ReturnType<typeof testCall>, runId: string) =>
    tracking.service.artifactUri(call, runId as RunId);
  const artifacts = artifactsRoom(platform, rootOf, options.bodyBytes);
  const tracking = trackingRoom(platform, artifacts.service, {
    multipartUploads: true,
    multipartDownloads: true,
  });
  const registry = registryOver(platform as unknown as Platform, { artifacts, tracking });
  const rooms = [artifacts, tracking, registry];
  const logged: unknown[] = [];
  const hono = mount(
    rooms.flatMap(({ routes }) => routes),
    {
      world,
      guard: () => url,
      authenticate: async (headers) => ({
        workspace: (headers.get('x-who') ?? 'default0') as WorkspaceId,
        caller: { name: 'ada', role: 'admin' },
      }),
      allow: () => true,
      repeated: async () => undefined,
      refused: async () => undefined,
      log: (line) => logged.push(line),
    },
  );
  onTestFinished(async () => {
    await table.close();
    rmSync(folder, { recursive: true, force: true });
    if (logged.length) throw new Error(`the server logged ${JSON.stringify(logged)}`);
  });

  async function ask(method: string, path: string, { body, raw, headers, who }: Ask = {}) {
    const sent = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const response = await hono.request(`${url}${path}`, {
      method,
      headers: {
        'x-who': who ?? 'default0',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(sent === undefined ? {} : { body: sent, duplex: 'half' }),
    });
    const text = await response.text();
    const json = response.headers.get('content-type')?.includes('json');
    const answer: Answer = {
      status: response.status,
      body: json && text ? JSON.parse(text) : undefined,
      text,
      headers: response.headers,
    };
    return answer;
  }

  const mlflow = '/api/2.0/mlflow';
  return {
    ask,
    /** The raw response, for bodies that are not text. */
    request: (path: string, init?: RequestInit) => hono.request(`${url}${path}`, init),
    post: (path: string, body: unknown, who?: string) =>
      ask('POST', `${mlflow}/${path}`, { body, ...(who ? { who } : {}) }),
    send: (method: string, path: string, body: unknown, who?: string) =>
      ask(method, `${mlflow}/${path}`, { body, ...(who ? { who } : {}) }),
    get(path: string, query: Record<string, string | readonly string[]> = {}, who?: string) {
      const search = new URLSearchParams();
      for (const [name, value] of Object.entries(query))
        for (const one of [value].flat()) search.append(name, String(one));
      return ask('GET', `${mlflow}/${path}?${search}`, who ? { who } : {});
    },
    /** A run of experiment 0: its id and where its artifacts lie. */
    async run(who?: string): Promise<{ id: string; root: string }> {
      const body = { experiment_id: '0', start_time: 1 };
      const made = await ask('POST', `${mlflow}/runs/create`, { body, ...(who ? { who } : {}) });
      const { run_id, artifact_uri } = made.body.run.info;
      return { id: run_id, root: artifact_uri };
    },
    async told(subject: string, who?: string): Promise<Told[]> {
      const call = testCall(who ? { workspace: who } : {});
      return (await table.entries(call, subject)).entries;
    },
    table,
    blobs,
    world,
    artifacts,
    tracking,
    registry,
    platform,
    logged,
    call: testCall(),
  };
}

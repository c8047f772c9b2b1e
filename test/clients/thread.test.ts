import { afterAll, beforeAll, describe } from 'vitest';
import { type ChildServer, startServer } from '../child.ts';
import { judgeThread, readSeen, type Seen } from './thread/judge.ts';
import { runClient } from './venv.ts';

describe('data, pipeline, run, version, endpoint, prediction, retraining: by unmodified clients', () => {
  let server: ChildServer;
  let seen: Seen;
  beforeAll(async () => {
    server = await startServer();
    seen = readSeen(await runClient('thread', 'thread.py', [server.url]));
  });
  afterAll(() => server?.stop());
  judgeThread(() => seen);
});

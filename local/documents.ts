import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Problem } from '../functions/kernel/problem.ts';
import { type ReadDocument, readDocument, specTooLarge } from '../functions/pipelines/document.ts';
import type { Answer } from './document_worker.ts';
import { limiter } from './limiter.ts';

export interface BackgroundOptions {
  /** Texts up to here are read at once, in some 10 ms; a thread takes longer than that to start. */
  readonly smallBytes?: number;
  readonly limitSeconds?: number;
  readonly memoryMb?: number;
}

/** Lies beside this file in the sources as in dist/ (bin/build.ts). */
const WORKER = new URL(`./document_worker${extname(import.meta.filename)}`, import.meta.url);
const AT_ONCE = 2;

/**
 * Reads a pipeline's text in a thread of its own, so that a large one holds up nobody else: two at once, the others in
 * their turn. JSON is read here, where every other body of JSON is read too. Throws what `readDocument` throws, and
 * `too_large` beyond the time or the memory.
 */
export function backgroundReader(options: BackgroundOptions = {}): ReadDocument {
  const { smallBytes = 32 * 1024, limitSeconds = 20, memoryMb = 1024 } = options;
  const inTurn = limiter(AT_ONCE);
  return async (text) => {
    if (text.length <= smallBytes || /^\s*\{/.test(text)) return readDocument(text);
    const answer = await inTurn(() => asked(text, limitSeconds, memoryMb));
    if ('document' in answer) return JSON.parse(answer.document);
    const { code, message, field } = answer.problem;
    throw new Problem(code, message, field === undefined ? {} : { field });
  };
}

function asked(text: string, limitSeconds: number, memoryMb: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(WORKER, {
      workerData: text,
      resourceLimits: { maxOldGenerationSizeMb: memoryMb },
    });
    const timer = setTimeout(() => {
      void worker.terminate();
      reject(specTooLarge(`reading it takes more than ${limitSeconds} seconds`));
    }, limitSeconds * 1000);
    worker.once('message', resolve);
    worker.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'ERR_WORKER_OUT_OF_MEMORY'
          ? specTooLarge(`reading it takes more than ${memoryMb} MB of memory`)
          : error,
      ),
    );
    worker.once('exit', () => {
      clearTimeout(timer);
      reject(new Error('the thread that reads a pipeline ended without an answer'));
    });
  });
}

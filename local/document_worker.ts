import { parentPort, workerData } from 'node:worker_threads';
import { Problem } from '../functions/kernel/problem.ts';
import { readDocument } from '../functions/pipelines/document.ts';

/** A document goes back as JSON, which is quicker to read than a copy of its objects. */
export type Answer =
  | { readonly document: string }
  | { readonly problem: Pick<Problem, 'code' | 'message' | 'field'> };

/** The body of the thread that documents.ts starts: one text in, one answer out. */
parentPort?.postMessage(answerTo(workerData));

function answerTo(text: string): Answer {
  try {
    return { document: JSON.stringify(readDocument(text)) };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { code, message, field } = error;
    return { problem: { code, message, field } };
  }
}

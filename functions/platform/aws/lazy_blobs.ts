import type { Blobs } from '../ports.ts';
import { locations } from './locations.ts';

/** Lambda passes on 6 MB, which bytes reach as base64 when they are a quarter fewer. */
export const LARGEST_BLOB_ANSWER_BYTES = 4_000_000;

/** S3 is a third of a cold start and most requests move no bytes: its client is loaded by the first that does. */
export function lazyBlobs(bucket: string): Blobs {
  let loading: Promise<Blobs> | undefined;
  const s3 = () => (loading ??= import('./s3.ts').then(({ openS3 }) => openS3(bucket)));
  return {
    ...locations(bucket),
    largestAnswerBytes: LARGEST_BLOB_ANSWER_BYTES,
    put: async (...asked) => (await s3()).put(...asked),
    head: async (...asked) => (await s3()).head(...asked),
    get: async (...asked) => (await s3()).get(...asked),
    list: async (...asked) => (await s3()).list(...asked),
    remove: async (...asked) => (await s3()).remove(...asked),
    sign: async (...asked) => (await s3()).sign(...asked),
    startUpload: async (...asked) => (await s3()).startUpload(...asked),
    signPart: async (...asked) => (await s3()).signPart(...asked),
    completeUpload: async (...asked) => (await s3()).completeUpload(...asked),
    abortUpload: async (...asked) => (await s3()).abortUpload(...asked),
  };
}

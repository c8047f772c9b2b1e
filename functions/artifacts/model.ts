import * as z from 'zod';
import { checkedPath } from '../kernel/path.ts';
import { Problem } from '../kernel/problem.ts';

/** A file or folder as a list shows it: `path` is relative to the root that was asked. */
export interface Entry {
  readonly path: string;
  readonly isDir: boolean;
  /** Absent for a folder. */
  readonly sizeBytes?: number;
}

export const ARTIFACT_LIMITS = {
  /** Entries of one page, and of an answer that has no pages. */
  page: 1_000,
  unpaged: 100_000,
  /** What the web UI may upload at once. Source: mlflow/server/handlers.py, upload_artifact_handler. */
  uiUploadBytes: 10 * 1024 * 1024,
  /** The largest body where nothing else limits it: one S3 put. */
  bodyBytes: 5_000_000_000,
  parts: 10_000,
  /** Where the answer, with a URL of up to 2,000 characters a part, must pass a gateway. */
  partsBehindGateway: 2_000,
  urlSeconds: 900,
  /** Time to follow a redirect; a transfer that has begun goes on. */
  redirectSeconds: 300,
} as const;

const SCHEME = /^mlflow-artifacts:\/(?:\/\/)?(?!\/)/;

/** `0/4f../artifacts` of `mlflow-artifacts:/0/4f../artifacts`, or undefined for any other URI. Throws `invalid`. */
export function proxiedPath(uri: string): string | undefined {
  if (!SCHEME.test(uri)) return undefined;
  const path = uri.replace(SCHEME, '').replace(/\/$/, '');
  return path === '' ? '' : checkedPath(path, 'uri');
}

/** A path below a root that a request names. */
export function join(root: string, path: string, field = 'path'): string {
  return `${root.replace(/\/+$/, '')}/${checkedPath(path, field)}`;
}

export const Path = z.string().superRefine((path, context) => {
  try {
    checkedPath(path, 'path');
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    context.addIssue({ code: 'custom', message: error.message, params: { whole: true } });
  }
});

/** Types that a reader may want; a page or a script is shown as text, and all of them only as downloads. */
const TYPES: Record<string, string> = {
  json: 'application/json',
  pdf: 'application/pdf',
  zip: 'application/zip',
  gz: 'application/gzip',
  parquet: 'application/vnd.apache.parquet',
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  svg: 'image/svg+xml',
  mp4: 'video/mp4',
  wav: 'audio/wav',
  mp3: 'audio/mpeg',
};
const TEXTS =
  /^(txt|log|csv|tsv|md|yaml|yml|py|js|ts|sh|html|htm|xml|css|toml|ini|cfg|conf|sql|ipynb|rst|jsonl)$/;

export function typeOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (name === 'MLmodel' || name === 'MLproject') return 'text/plain; charset=utf-8';
  const extension = /\.([A-Za-z0-9]+)$/.exec(name)?.[1]?.toLowerCase() ?? '';
  if (TEXTS.test(extension)) return 'text/plain; charset=utf-8';
  return (Object.hasOwn(TYPES, extension) && TYPES[extension]) || 'application/octet-stream';
}

/** First and last byte of the one range that `header` asks for, clipped to the size. `outside` if there is none. */
export function byteRange(
  header: string | null,
  sizeBytes: number,
): { first: number; last: number } | 'outside' | undefined {
  const asked = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '');
  if (!asked || (asked[1] === '' && asked[2] === '')) return undefined; // not understood: the whole, as RFC 9110 says
  const end = sizeBytes - 1;
  if (asked[1] === '') {
    const suffix = Number(asked[2]);
    return suffix === 0 || sizeBytes === 0
      ? 'outside'
      : { first: Math.max(0, sizeBytes - suffix), last: end };
  }
  const first = Number(asked[1]);
  const last = asked[2] === '' ? end : Math.min(Number(asked[2]), end);
  if (first > end || last < first) return 'outside';
  return { first, last };
}

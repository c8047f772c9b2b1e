import { createHash } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { Call } from '../../kernel/call.ts';
import { pathSegments } from '../../kernel/path.ts';
import { Problem } from '../../kernel/problem.ts';
import type { BlobCondition, BlobHead, BlobPage, Blobs } from '../ports.ts';
import { locations } from './locations.ts';

export interface S3BlobsOptions {
  readonly client: S3Client;
  readonly bucket: string;
}

const MAX_BYTES = 5 * 1024 ** 3;
/** What is held of a stream at once; 640 such parts are 5 GB. */
const PART_BYTES = 8 * 1024 * 1024;
const LONGEST_SECONDS = 900;
const MAX_PAGE = 1000;

/** Blobs in an account: objects of one bucket at `<workspace>/<path>`. */
export function s3Blobs({ client, bucket }: S3BlobsOptions): Blobs {
  const at = (call: Call, path: string) => ({
    Bucket: bucket,
    Key: `${call.workspace}/${pathSegments(path, 'path').join('/')}`,
  });

  async function head(call: Call, path: string): Promise<BlobHead | undefined> {
    const command = new HeadObjectCommand(at(call, path));
    const found = await client.send(command).catch(unlessMissing);
    return (
      found && {
        path,
        sizeBytes: found.ContentLength ?? 0,
        etag: bare(found.ETag),
        modifiedAt: found.LastModified?.getTime() ?? 0,
      }
    );
  }

  /** S3 does not say when it stored: asked after. Should another put come between, it is told by its etag. */
  async function stored(call: Call, path: string, etag: string, sizeBytes: number) {
    const now = await head(call, path);
    return now?.etag === etag ? now : { path, etag, sizeBytes, modifiedAt: now?.modifiedAt ?? 0 };
  }

  async function putWhole(call: Call, path: string, body: Uint8Array, condition?: BlobCondition) {
    const command = new PutObjectCommand({
      ...at(call, path),
      Body: body,
      ...headersOf(condition),
    });
    try {
      const { ETag } = await client.send(command);
      return await stored(call, path, bare(ETag), body.length);
    } catch (error) {
      // The SDK sent it again after an answer was lost: the object that is in the way may be our own.
      if (condition && isRefused(error) && attemptsOf(error) > 1) {
        const there = await head(call, path);
        if (there?.etag === createHash('md5').update(body).digest('hex')) return there;
      }
      throw asProblem(error, path);
    }
  }

  async function putParts(
    call: Call,
    path: string,
    pieces: AsyncIterator<Uint8Array>,
    first: Uint8Array,
    condition?: BlobCondition,
  ): Promise<BlobHead> {
    const object = at(call, path);
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(object));
    try {
      const Parts: { PartNumber: number; ETag: string | undefined }[] = [];
      let size = 0;
      let piece: IteratorResult<Uint8Array> = { value: first, done: false };
      while (!piece.done) {
        size += piece.value.length;
        if (size > MAX_BYTES) throw tooLarge();
        const PartNumber = Parts.length + 1;
        const part = { ...object, UploadId, PartNumber, Body: piece.value };
        const { ETag } = await client.send(new UploadPartCommand(part));
        Parts.push({ PartNumber, ETag });
        piece = await pieces.next();
      }
      const { ETag } = await client.send(
        new CompleteMultipartUploadCommand({
          ...object,
          UploadId,
          MultipartUpload: { Parts },
          ...headersOf(condition),
        }),
      );
      return await stored(call, path, bare(ETag), size);
    } catch (error) {
      await client
        .send(new AbortMultipartUploadCommand({ ...object, UploadId }))
        .catch(() => undefined);
      throw asProblem(error, path);
    }
  }

  let signer: Promise<(command: Signable, seconds: number) => Promise<string>> | undefined;
  /** Loaded only where URLs are signed. A checksum of the body, which the holder alone knows, is not signed. */
  function signing() {
    signer ??= import('@aws-sdk/s3-request-presigner').then(({ getSignedUrl }) => {
      const { region, credentials, endpoint, forcePathStyle } = client.config;
      const plain = new S3Client({
        region,
        credentials,
        forcePathStyle: forcePathStyle ?? false,
        ...(endpoint ? { endpoint } : {}),
        requestChecksumCalculation: 'WHEN_REQUIRED',
      });
      const kept = new Set(['if-none-match']);
      return (command: Signable, seconds: number) =>
        getSignedUrl(plain, command as PutObjectCommand, {
          expiresIn: Math.max(1, Math.min(Math.floor(seconds), LONGEST_SECONDS)),
          signableHeaders: kept,
          unhoistableHeaders: kept,
        });
    });
    return signer;
  }

  return {
    head,

    async put(call, path, body, condition) {
      at(call, path);
      if (body instanceof Uint8Array) {
        if (body.length > MAX_BYTES) throw tooLarge();
        return putWhole(call, path, body, condition);
      }
      const pieces = inPieces(body);
      const first = await pieces.next();
      const whole = first.done ? new Uint8Array() : first.value;
      return whole.length < PART_BYTES
        ? putWhole(call, path, whole, condition)
        : putParts(call, path, pieces, whole, condition);
    },

    async get(call, path, range) {
      if (range && (range.first < 0 || (range.last ?? range.first) < range.first))
        throw outside(path);
      const Range = range && `bytes=${range.first}-${range.last ?? ''}`;
      const command = new GetObjectCommand({ ...at(call, path), ...(Range ? { Range } : {}) });
      const found = await client.send(command).catch((error) => {
        if (nameOf(error) === 'InvalidRange') throw outside(path);
        return unlessMissing(error);
      });
      if (!found?.Body) return undefined;
      const whole = /\/(\d+)$/.exec(found.ContentRange ?? '')?.[1];
      return {
        path,
        sizeBytes: Number(whole ?? found.ContentLength ?? 0),
        etag: bare(found.ETag),
        modifiedAt: found.LastModified?.getTime() ?? 0,
        body: found.Body.transformToWebStream() as ReadableStream<Uint8Array>,
      };
    },

    async list(call, prefix, { folders = false, after, limit = MAX_PAGE } = {}) {
      if (prefix !== '') pathSegments(prefix.replace(/\/$/, ''), 'prefix');
      const root = `${call.workspace}/`;
      // A folder that ended the page before is passed with all it holds.
      const start = after?.endsWith('/') && folders ? `${after}\u{10ffff}` : after;
      const answer = await client
        .send(
          new ListObjectsV2Command({
            Bucket: bucket,
            Prefix: root + prefix,
            MaxKeys: Math.max(1, Math.min(limit, MAX_PAGE)),
            ...(folders ? { Delimiter: '/' } : {}),
            ...(start === undefined ? {} : { StartAfter: root + start }),
          }),
        )
        .catch((error) => {
          throw asProblem(error, prefix);
        });
      const below = (key = '') => key.slice(root.length);
      const blobs = (answer.Contents ?? []).map(({ Key, Size, ETag, LastModified }) => ({
        path: below(Key),
        sizeBytes: Size ?? 0,
        etag: bare(ETag),
        modifiedAt: LastModified?.getTime() ?? 0,
      }));
      const found = (answer.CommonPrefixes ?? []).map(({ Prefix }) => below(Prefix));
      const last = [...blobs.map(({ path }) => path), ...found].sort(byBytes).at(-1);
      const page: BlobPage = { blobs, folders: found.map((path) => path.slice(prefix.length)) };
      return answer.IsTruncated && last !== undefined ? { ...page, next: last } : page;
    },

    async remove(call, path) {
      await client.send(new DeleteObjectCommand(at(call, path))).catch(unlessMissing);
    },

    async sign(call, path, method, expiresSeconds, shown) {
      const object = at(call, path);
      const command =
        method === 'GET'
          ? new GetObjectCommand({
              ...object,
              ...(shown && {
                ResponseContentType: shown.contentType,
                ResponseContentDisposition: shown.contentDisposition,
              }),
            })
          : new PutObjectCommand({ ...object, IfNoneMatch: '*' });
      return (await signing())(command, expiresSeconds);
    },

    async startUpload(call, path) {
      const { UploadId } = await client
        .send(new CreateMultipartUploadCommand(at(call, path)))
        .catch((error) => {
          throw asProblem(error, path);
        });
      return UploadId ?? '';
    },

    async signPart(call, path, upload, part) {
      if (!Number.isInteger(part) || part < 1 || part > 10_000)
        throw new Problem('invalid', "A part's number is 1 to 10000.", { field: 'part' });
      const object = { ...at(call, path), UploadId: upload, PartNumber: part };
      return (await signing())(new UploadPartCommand(object), LONGEST_SECONDS);
    },

    async completeUpload(call, path, upload, parts) {
      if (parts.length === 0 || parts.some(({ part }, i) => part <= (parts[i - 1]?.part ?? 0)))
        throw badParts('parts must be named, in ascending order');
      const Parts = parts.map(({ part, etag }) => ({ PartNumber: part, ETag: `"${etag}"` }));
      const command = new CompleteMultipartUploadCommand({
        ...at(call, path),
        UploadId: upload,
        MultipartUpload: { Parts },
      });
      await client.send(command).catch((error) => {
        throw asProblem(error, path);
      });
      const done = await head(call, path);
      if (!done) throw new Problem('conflict', `${path} was removed at once.`);
      return done;
    },

    async abortUpload(call, path, upload) {
      const command = new AbortMultipartUploadCommand({ ...at(call, path), UploadId: upload });
      await client.send(command).catch((error) => {
        if (nameOf(error) !== 'NoSuchUpload') throw asProblem(error, path);
      });
    },

    ...locations(bucket),
  };
}

type Signable = GetObjectCommand | PutObjectCommand | UploadPartCommand;

/** A stream in pieces of 8 MB, the last one shorter. */
async function* inPieces(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    for (let from = 0; from < chunk.length; ) {
      const piece = chunk.subarray(from, from + PART_BYTES - bytes);
      held.push(piece);
      bytes += piece.length;
      from += piece.length;
      if (bytes < PART_BYTES) continue;
      yield Buffer.concat(held, bytes);
      held = [];
      bytes = 0;
    }
  }
  if (bytes > 0) yield Buffer.concat(held, bytes);
}

const headersOf = (condition: BlobCondition | undefined) =>
  condition === undefined
    ? {}
    : condition === 'absent'
      ? { IfNoneMatch: '*' }
      : { IfMatch: `"${condition.unchanged}"` };

const bare = (etag = '') => etag.replaceAll('"', '');
const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const nameOf = (error: unknown) => (error instanceof Error ? error.name : '');
const metadataOf = (error: unknown) =>
  (error as { $metadata?: { attempts?: number; httpStatusCode?: number } }).$metadata ?? {};
const attemptsOf = (error: unknown) => metadataOf(error).attempts ?? 1;
const isRefused = (error: unknown) => metadataOf(error).httpStatusCode === 412;
const MISSING = new Set(['NotFound', 'NoSuchKey']);

function unlessMissing(error: unknown): undefined {
  if (MISSING.has(nameOf(error))) return undefined;
  throw asProblem(error, 'blob');
}

const tooLarge = () => new Problem('too_large', `The body is larger than ${MAX_BYTES} bytes.`);
const outside = (path: string) =>
  new Problem('invalid', `The range starts after the end of ${path}.`, {
    field: 'Range',
    status: 416,
  });
const badParts = (why: string) =>
  new Problem('invalid', `The upload cannot be completed: ${why}.`, { field: 'parts' });

/** S3's refusals in our words. Source: Amazon S3 API reference, "Error responses". */
function asProblem(error: unknown, path: string): unknown {
  if (error instanceof Problem) return error;
  const name = nameOf(error);
  const status = metadataOf(error).httpStatusCode ?? 0;
  if (name === 'NoSuchUpload')
    return new Problem('missing', 'No such upload: it was completed or aborted.', { cause: error });
  if (name === 'InvalidPart' || name === 'InvalidPartOrder' || name === 'EntityTooSmall')
    return badParts(error instanceof Error ? error.message : name);
  if (name === 'EntityTooLarge') return tooLarge();
  if (isRefused(error) || status === 409 || MISSING.has(name))
    return new Problem('conflict', `${path} exists or has changed.`, { cause: error });
  if (name === 'SlowDown' || name === 'TimeoutError' || status >= 500)
    return new Problem('unavailable', 'The store did not answer in time.', {
      cause: error,
      retryAfterSeconds: 1,
    });
  return error;
}

import * as z from 'zod';
import { repeated, safeInt } from '../kernel/proto.ts';
import type { Limits, Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoutes } from '../protocols/mlflow.ts';
import { ARTIFACT_LIMITS, type Entry, join, Path } from './model.ts';
import type { ArtifactsService } from './service.ts';

/** The proxy: `mlflow-artifacts:/<path>` over HTTP, names in lists relative to the asked path. */
const BASE = '/mlflow-artifacts';
const ROOT = 'mlflow-artifacts:/';
const Nothing = z.object({});
const FileOnWire = z.object({
  path: z.string(),
  is_dir: z.boolean(),
  file_size: z.number().optional(),
});
const ByPath = mlflowMessage({ artifact_path: Path });
const resource = ({ artifact_path }: { artifact_path: string }) => `artifacts/${artifact_path}`;
const small: Limits = { bodyBytes: 1_048_576, timeoutSeconds: 30 };
const none: Limits = { bodyBytes: 0, timeoutSeconds: 30 };

export const encodeEntry = ({ path, isDir, sizeBytes }: Entry) => ({
  path,
  is_dir: isDir,
  ...(sizeBytes === undefined ? {} : { file_size: sizeBytes }),
});

export function proxyRoutes(artifacts: ArtifactsService, bodyBytes: number): Route[] {
  const file = `${BASE}/artifacts/{artifact_path*}`;
  const uriOf = (path: string) => join(ROOT, path);
  return [
    ...mlflowRoutes('GET', file, 'artifacts:read', {
      input: ByPath,
      output: z.any(),
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 600 },
      streams: true,
      run: (call, { artifact_path }, incoming) =>
        artifacts.send(call, ROOT, artifact_path, incoming),
    }),
    ...mlflowRoutes('PUT', file, 'artifacts:write', {
      input: ByPath,
      output: Nothing,
      resource,
      limits: { bodyBytes, timeoutSeconds: 600 },
      retry: 'natural', // the same path gets the same bytes
      rawBody: true,
      async run(call, { artifact_path }, incoming) {
        await artifacts.write(call, uriOf(artifact_path), incoming.stream());
        return {};
      },
    }),
    ...mlflowRoutes('DELETE', file, 'artifacts:write', {
      input: ByPath,
      output: Nothing,
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 600 },
      retry: 'natural',
      run: (call, { artifact_path }) => artifacts.remove(call, uriOf(artifact_path)),
    }),
    ...mlflowRoutes('GET', `${BASE}/artifacts`, 'artifacts:read', {
      input: mlflowMessage({ path: z.union([z.literal(''), Path]).optional() }),
      output: z.object({ files: z.array(FileOnWire).optional() }),
      resource: ({ path }) => `artifacts/${path ?? ''}`,
      limits: none,
      async run(call, { path }) {
        const files = await artifacts.listAll(call, path ? uriOf(path) : ROOT);
        return files.length ? { files: files.map(encodeEntry) } : {};
      },
    }),
    ...mlflowRoutes('GET', `${BASE}/presigned/{artifact_path*}`, 'artifacts:read', {
      input: ByPath,
      output: z.object({ url: z.string(), headers: z.any(), file_size: z.number() }),
      resource,
      limits: none,
      async run(call, { artifact_path }) {
        const { url, sizeBytes } = await artifacts.sign(call, uriOf(artifact_path));
        return { url, headers: {}, file_size: sizeBytes };
      },
    }),
    ...uploadRoutes(artifacts),
  ];
}

/** `path` may be an absolute path of the client's machine: only its last name counts. Source: aws.md section 3.2. */
const fileUri = ({ artifact_path, path }: { artifact_path: string; path: string }) =>
  join(
    `${ROOT}${artifact_path}`,
    path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1),
  );

const FilePath = { artifact_path: Path, path: z.string() };
const UploadId = z.string().min(1, 'must not be empty').max(2_000);

function uploadRoutes(artifacts: ArtifactsService): Route[] {
  return [
    ...mlflowRoutes('POST', `${BASE}/mpu/create/{artifact_path*}`, 'artifacts:write', {
      input: mlflowMessage({
        ...FilePath,
        num_parts: safeInt().refine(
          (count) => count >= 1 && count <= ARTIFACT_LIMITS.parts,
          `must be 1 to ${ARTIFACT_LIMITS.parts}`,
        ),
      }),
      output: z.object({
        upload_id: z.string(),
        credentials: z.array(
          z.object({ url: z.string(), part_number: z.number(), headers: z.any() }),
        ),
      }),
      resource,
      limits: small,
      retry: 'none', // a second create is a second upload; what is never completed is never seen
      async run(call, input) {
        const { upload, urls } = await artifacts.startUpload(call, fileUri(input), input.num_parts);
        return {
          upload_id: upload,
          credentials: urls.map((url, i) => ({ url, part_number: i + 1, headers: {} })),
        };
      },
    }),
    ...mlflowRoutes('POST', `${BASE}/mpu/complete/{artifact_path*}`, 'artifacts:write', {
      input: mlflowMessage({
        ...FilePath,
        upload_id: UploadId,
        parts: repeated(
          mlflowMessage({
            part_number: safeInt(),
            etag: z.string().max(200),
            url: z.string().optional(),
          }),
        ).refine(
          (parts) => parts.length <= ARTIFACT_LIMITS.parts,
          `may have at most ${ARTIFACT_LIMITS.parts} entries`,
        ),
      }),
      output: Nothing,
      resource,
      limits: { bodyBytes: 16 * 1_048_576, timeoutSeconds: 600 },
      retry: 'natural',
      async run(call, input) {
        // The client passes the header on as it came: in quotes.
        const parts = input.parts.map(({ part_number, etag }) => ({
          part: part_number,
          etag: etag.replace(/^"(.*)"$/, '$1'),
        }));
        await artifacts.completeUpload(call, fileUri(input), input.upload_id, parts);
        return {};
      },
    }),
    ...mlflowRoutes('POST', `${BASE}/mpu/abort/{artifact_path*}`, 'artifacts:write', {
      input: mlflowMessage({ ...FilePath, upload_id: UploadId }),
      output: Nothing,
      resource,
      limits: small,
      retry: 'natural',
      async run(call, input) {
        await artifacts.abortUpload(call, fileUri(input), input.upload_id);
        return {};
      },
    }),
  ];
}

import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import { Problem } from '../kernel/problem.ts';
import type { Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoute, mlflowRoutes } from '../protocols/mlflow.ts';
import { encodeEntry } from './mlflow.ts';
import { ARTIFACT_LIMITS, join } from './model.ts';
import type { ArtifactsService } from './service.ts';

/** The root of a run's artifacts, or undefined for an unknown run; the tracking room knows. */
export type RunRoot = (call: Call, runId: string) => Promise<string | undefined>;

const ByRun = {
  run_id: z.string().max(256).optional(),
  /** Deprecated twin of `run_id`; old clients and the web UI still send it. */
  run_uuid: z.string().max(256).optional(),
};
type RunRef = { run_id?: string | undefined; run_uuid?: string | undefined };
const resource = ({ run_id, run_uuid }: RunRef) => `runs/${run_id || run_uuid || ''}`;

/** The artifacts of a run: paths are relative to the run's root. */
export function runArtifactRoutes(artifacts: ArtifactsService, runRoot: RunRoot): Route[] {
  const rootOf = async (call: Call, { run_id, run_uuid }: RunRef): Promise<string> => {
    const id = run_id || run_uuid;
    if (!id)
      throw new Problem('invalid', "Missing value for required parameter 'run_id'.", {
        field: 'run_id',
      });
    if (!/^[\w-]+$/.test(id))
      throw new Problem('invalid', `Invalid run ID: '${id}'`, { field: 'run_id' });
    const root = await runRoot(call, id);
    if (root === undefined)
      throw new Problem('missing', `Run with id=${id} not found`, { field: 'run_id' });
    return root;
  };
  return [
    ...mlflowRoutes('GET', '/mlflow/artifacts/list', 'artifacts:read', {
      input: mlflowMessage({
        ...ByRun,
        path: z.string().optional(),
        page_token: z.string().optional(),
      }),
      output: z.object({
        root_uri: z.string(),
        files: z.array(z.any()).optional(),
        next_page_token: z.string().optional(),
      }),
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 30 },
      async run(call, input) {
        const root = await rootOf(call, input);
        const path = input.path || undefined;
        const page = await artifacts.list(call, root, path, input.page_token || undefined);
        return {
          root_uri: root,
          ...(page.files.length ? { files: page.files.map(encodeEntry) } : {}),
          ...(page.next ? { next_page_token: page.next } : {}),
        };
      },
    }),
    mlflowRoute('GET', '/get-artifact', 'artifacts:read', {
      input: mlflowMessage({ ...ByRun, path: z.string() }),
      output: z.any(),
      resource,
      limits: { bodyBytes: 0, timeoutSeconds: 600 },
      streams: true,
      run: async (call, input, incoming) =>
        artifacts.send(call, await rootOf(call, input), input.path, incoming),
    }),
    mlflowRoute('POST', '/ajax-api/2.0/mlflow/upload-artifact', 'artifacts:write', {
      input: mlflowMessage({ ...ByRun, path: z.string() }),
      output: z.object({}),
      resource,
      limits: { bodyBytes: ARTIFACT_LIMITS.uiUploadBytes, timeoutSeconds: 60 },
      retry: 'natural',
      rawBody: true,
      async run(call, input, incoming) {
        const uri = join(await rootOf(call, input), input.path);
        const body = await incoming.bytes();
        if (!body.length)
          throw new Problem('invalid', 'Request must specify data.', { field: 'body' });
        await artifacts.write(call, uri, body);
        return {};
      },
    }),
  ];
}

import * as z from 'zod';
import type { Route } from '../kernel/route.ts';
import { mlflowMessage, mlflowRoute, mlflowRoutes } from '../protocols/mlflow.ts';

/** What the artifacts of this installation can do; the client caches it for a minute. */
export interface ArtifactAbilities {
  readonly multipartUploads: boolean;
  readonly multipartDownloads: boolean;
}

/** The client sends spans to /v1/traces only from 3.4 on. Source: mlflow.md section 1. */
const MLFLOW_VERSION = '3.17.2';

const limits = { bodyBytes: 0, timeoutSeconds: 5 };
const open = { input: mlflowMessage({}), output: z.unknown(), limits, open: true };
const plain = (text: string) =>
  new Response(text, { headers: { 'Content-Type': 'text/plain; charset=utf-8' } });

/** What a client asks of a server before it logs in. Source: mlflow.md section 3.1. */
export function serverRoutes(abilities: ArtifactAbilities): Route[] {
  return [
    mlflowRoute('GET', '/health', 'tracking:read', {
      ...open,
      resource: () => 'server',
      run: () => plain('OK'),
    }),
    mlflowRoute('GET', '/version', 'tracking:read', {
      ...open,
      resource: () => 'server',
      run: () => plain(MLFLOW_VERSION),
    }),
    ...mlflowRoutes(
      'GET',
      '/mlflow/server-info',
      'tracking:read',
      {
        ...open,
        resource: () => 'server',
        run: () => ({
          store_type: 'SqlStore',
          workspaces_enabled: false,
          trace_archival_enabled: false,
          multipart_uploads_enabled: abilities.multipartUploads,
          multipart_downloads_enabled: abilities.multipartDownloads,
          presigned_upload_run_id_supported: false,
          presigned_upload_model_id_supported: false,
          features_enabled: { gateway: false },
        }),
      },
      '3.0',
    ),
  ];
}

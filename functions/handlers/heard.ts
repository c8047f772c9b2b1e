import { createHash } from 'node:crypto';
import type { EventBridgeEvent } from 'aws-lambda';
import { DEPLOYED } from '../../statemachines/resources.ts';
import type { Told } from '../kernel/event.ts';
import { ulid, WorkspaceId } from '../kernel/ids.ts';
import { cloudName } from '../platform/aws/names.ts';

/** What the account's own bus says in its words, as an event of ours that no commit of ours made. */
export interface Heard {
  readonly workspace: string;
  readonly type: string;
  readonly subject: string;
  readonly data: unknown;
  readonly caller: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The same fact, delivered twice, has the same one: followers are idempotent by the id that is made of it. */
  readonly fact: string;
}

/** It joins no chain: only what is committed to the table does. */
export function toldOf(heard: Heard): Told {
  const { type, subject, data, caller, at, fact } = heard;
  const id = ulid(at, createHash('sha256').update(fact).digest());
  const workspace = WorkspaceId.parse(heard.workspace);
  const action = `${caller}:run`;
  const told = { id, type, subject, data, workspace, caller, action, requestId: id, at };
  return { ...told, sequence: 0, previous: '', hash: '' };
}

interface ObjectCreated {
  readonly bucket: { readonly name: string };
  readonly object: { readonly key: string; readonly size?: number; readonly etag?: string };
}

/**
 * A file that somebody put into the bucket under `<workspace>/data/`, past us. One that came through us is told
 * twice, here and by its commit: rules tell by path and etag that it is the same.
 * Source: Amazon S3 user guide, "EventBridge event message structure" (the key is not encoded there).
 */
export function arrival(
  event: EventBridgeEvent<'Object Created', ObjectCreated>,
): Told | undefined {
  const { key, size = 0, etag = '' } = event.detail.object;
  const [, workspace, path] = /^([a-z0-9]{8})\/data\/(.+)$/.exec(key) ?? [];
  if (!workspace || !path || path.endsWith('/')) return undefined;
  return toldOf({
    workspace,
    type: 'artifacts.data.arrived',
    subject: `data/${path}`,
    data: { path, sizeBytes: size, etag },
    caller: 'artifacts',
    at: Date.parse(event.time),
    fact: `${event.detail.bucket.name}/${key} ${etag} ${event.time}`,
  });
}

interface ExecutionEnded {
  readonly executionArn: string;
  readonly stateMachineArn: string;
  readonly name: string;
  readonly status: string;
  readonly output?: string | null;
  readonly error?: string | null;
  readonly cause?: string | null;
}

/**
 * The end of one of our executions, as `Machines` promises it. Undefined for a machine or execution that is none of
 * ours. Source: AWS Step Functions developer guide, "Step Functions Execution Status Change".
 */
export function ending(
  event: EventBridgeEvent<'Step Functions Execution Status Change', ExecutionEnded>,
): Told | undefined {
  const { executionArn, stateMachineArn, name, status, output, error, cause } = event.detail;
  const [, workspace = '', execution] = /^([a-z0-9]{8})-(.+)$/.exec(name) ?? [];
  const deployed = stateMachineArn.split(':').at(-1) ?? '';
  const machine = machineOf(deployed, workspace);
  if (!execution || !machine) return undefined;
  return toldOf({
    workspace,
    type: 'machines.execution.ended',
    subject: `executions/${execution}`,
    data: {
      machine,
      execution,
      state: status,
      error: error ?? null,
      cause: cause ?? null,
      output: output ? JSON.parse(output) : null,
    },
    caller: 'machines',
    at: Date.parse(event.time),
    fact: `${executionArn} ${status}`,
  });
}

function machineOf(deployed: string, workspace: string): string | undefined {
  const written = deployed.startsWith(DEPLOYED) ? deployed.slice(DEPLOYED.length) : '';
  if (written !== '') return written;
  const own = cloudName(workspace, '');
  return deployed.startsWith(own) ? deployed.slice(own.length) : undefined;
}

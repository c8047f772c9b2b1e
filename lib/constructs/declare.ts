import { CustomResource } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import type { DeclaringRoom, Stillflow } from './stillflow.ts';

/** CloudFormation calls the function of a room with all of it; an event holds 256 KB. */
const LARGEST_BYTES = 200_000;

export interface Declares {
  readonly stillflow: Stillflow;
  readonly room: DeclaringRoom;
  readonly kind: 'pipeline' | 'endpoint' | 'rule';
  readonly name: string;
  readonly declaration: object;
  /** Known to CloudFormation only, so it stands beside the declaration. */
  readonly machineVersion?: string;
}

/** What a room keeps for a stack as long as the stack holds it; functions/handlers/declare.ts is its other end. */
export function declare(scope: Construct, id: string, props: Declares): CustomResource {
  const { stillflow, room, kind, name, declaration, machineVersion } = props;
  const text = JSON.stringify(declaration);
  if (Buffer.byteLength(text) > LARGEST_BYTES)
    throw new Error(
      `${kind} '${name}' has ${Buffer.byteLength(text)} bytes; a stack declares up to ${LARGEST_BYTES}. Upload it by the API.`,
    );
  return new CustomResource(scope, id, {
    serviceToken: stillflow.declaring(room).functionArn,
    resourceType: `Custom::Stillflow${kind[0]?.toUpperCase()}${kind.slice(1)}`,
    properties: {
      Kind: kind,
      Name: name,
      Declaration: text,
      ...(machineVersion === undefined ? {} : { MachineVersion: machineVersion }),
    },
  });
}

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { layerFolder } from '../../lib/layers.ts';
import { stillflow } from '../../lib/stillflow.ts';

export interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
}
/** Stack name to its template. */
export type Templates = Readonly<Record<string, { Resources: Record<string, Resource> }>>;

/** Builds the layer once, as `npm run layers` does; it needs pip, and the network the first time. */
export function needLayer(): void {
  if (existsSync(layerFolder())) return;
  const { status } = spawnSync(process.execPath, ['bin/layers.ts'], { stdio: 'inherit' });
  if (status !== 0) throw new Error('npm run layers failed');
}

/** All stacks as CloudFormation gets them; cdk-nag has looked at each and fails the synth with what it finds. */
export function synthesize(context: Record<string, string> = {}): {
  templates: Templates;
  folder: string;
} {
  needLayer();
  const folder = mkdtempSync(join(tmpdir(), 'stillflow-stacks-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const app = new App({ outdir: folder, context });
  stillflow(app);
  const templates = Object.fromEntries(
    app
      .synth()
      .stacks.map(({ stackName, templateFullPath }) => [
        stackName,
        JSON.parse(readFileSync(templateFullPath, 'utf8')),
      ]),
  );
  return { templates, folder };
}

export interface Placed extends Resource {
  /** `stillflow-data/Table8235A42E`. */
  readonly at: string;
  readonly stack: string;
  readonly id: string;
}

export const resources = (templates: Templates, type?: string): Placed[] =>
  Object.entries(templates).flatMap(([stack, { Resources }]) =>
    Object.entries(Resources)
      .filter(([, resource]) => type === undefined || resource.Type === type)
      .map(([id, resource]) => ({ ...resource, at: `${stack}/${id}`, stack, id })),
  );

/** A property by path, or undefined. */
export function property(resource: Resource, ...path: readonly (string | number)[]): unknown {
  let value: unknown = resource.Properties;
  for (const name of path) value = (value as Record<string | number, unknown> | undefined)?.[name];
  return value;
}

/** ARNs and joins as one text: `arn:${AWS::Partition}:sqs:...`. */
export function text(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(text).join(',');
  const [[name, inner] = ['', undefined]] = Object.entries(
    (value ?? {}) as Record<string, unknown>,
  );
  if (name === 'Fn::Join') {
    const [separator, parts] = inner as [string, unknown[]];
    return parts.map(text).join(separator);
  }
  if (name === 'Ref') return `\${${inner}}`;
  if (name === 'Fn::GetAtt') return `\${${(inner as string[]).join('.')}}`;
  if (name === 'Fn::ImportValue') return `\${${text(inner)}}`;
  return JSON.stringify(value ?? '');
}

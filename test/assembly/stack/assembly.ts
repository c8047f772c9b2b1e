import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { needLayer } from '../../stacks/templates.ts';
import { type Fields, fields, text } from './values.ts';

export interface Template {
  readonly Resources: Record<
    string,
    { Type: string; Properties?: Record<string, unknown> } & Fields
  >;
  readonly Outputs?: Record<string, Fields>;
  readonly Parameters?: Record<string, Fields>;
  readonly Conditions?: Record<string, unknown>;
}
/** By stack's name. Plain JSON: a test plants its faults in a copy. */
export type Templates = Record<string, Template>;

/** What `cdk deploy` would upload and create. */
export interface Assembly {
  readonly templates: Templates;
  /** The folder or file that an asset's object key (`<hash>.zip`) was made of. */
  readonly assets: ReadonlyMap<string, string>;
}

export const ROOT = resolve(import.meta.dirname, '../../..');
/** The image that serves models: not pulled here, but without one the product deploys no endpoint. */
const CONTEXT = {
  servingImage: '123456789012.dkr.ecr.eu-central-1.amazonaws.com/stillflow-serving:1',
};
const SOURCES = ['bin', 'lib', 'functions', 'statemachines', 'runtimes', 'package-lock.json'];
const WRITTEN_BY = 'stillflow-stack.json';

/** Reads an assembly: its manifest, templates and assets. Throws for a kind of artifact that it does not know. */
export function readAssembly(folder: string): Assembly {
  const { artifacts } = readJson(join(folder, 'manifest.json')) as {
    artifacts: Record<string, { type: string; properties?: Fields }>;
  };
  const templates: Templates = {};
  const assets = new Map<string, string>();
  for (const [name, { type, properties = {} }] of Object.entries(artifacts)) {
    if (type === 'aws:cloudformation:stack')
      templates[text(properties['stackName']) || name] = readJson(
        join(folder, text(properties['templateFile'])),
      ) as Template;
    else if (type === 'cdk:asset-manifest')
      for (const [key, path] of assetsOf(folder, text(properties['file']))) assets.set(key, path);
    else if (!/^cdk:(tree|feature-flag-report|nested-cloud-assembly)$/.test(type))
      throw new Error(
        `the assembly holds ${name} of type ${type}, which npm run stack does not know`,
      );
  }
  return { templates, assets };
}

function* assetsOf(folder: string, file: string): Generator<[string, string]> {
  const { files } = readJson(join(folder, file)) as { files?: Record<string, Fields> };
  for (const { source, destinations } of Object.values(files ?? {}))
    for (const destination of Object.values(fields(destinations)))
      yield [text(fields(destination)['objectKey']), join(folder, text(fields(source)['path']))];
}

const readJson = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));

/** `cdk.out`, synthesised first if it is absent or older than a source. What is there is whole, or not there. */
export function synthesised(folder = join(ROOT, 'cdk.out'), further: Fields = {}): string {
  const mark = join(folder, WRITTEN_BY);
  if (existsSync(mark) && statSync(mark).mtimeMs > newest(SOURCES.map((name) => join(ROOT, name))))
    return folder;
  needLayer();
  const making = mkdtempSync(`${folder}.`);
  const { status, stderr, stdout } = spawnSync(process.execPath, [join(ROOT, 'bin/deploy.ts')], {
    cwd: ROOT,
    env: {
      ...process.env,
      CDK_OUTDIR: making,
      CDK_CONTEXT_JSON: JSON.stringify({ ...CONTEXT, ...further }),
    },
    encoding: 'utf8',
  });
  if (status !== 0) {
    rmSync(making, { recursive: true, force: true });
    throw new Error(`the stacks do not synthesise:\n${(stdout + stderr).slice(-4000)}`);
  }
  spawnSync('touch', [join(making, WRITTEN_BY)]);
  rmSync(folder, { recursive: true, force: true });
  renameSync(making, folder);
  return folder;
}

function newest(paths: readonly string[]): number {
  return Math.max(
    ...paths.flatMap((path) =>
      statSync(path).isFile()
        ? [statSync(path).mtimeMs]
        : readdirSync(path, { recursive: true, withFileTypes: true })
            .filter((entry) => entry.isFile() && !entry.parentPath.includes('__pycache__'))
            .map(({ parentPath, name }) => statSync(join(parentPath, name)).mtimeMs),
    ),
  );
}

import { createHash } from 'node:crypto';
import * as z from 'zod';
import { stackMachine } from '../../statemachines/resources.ts';
import type { Call } from '../kernel/call.ts';
import { Problem, unlessMissing } from '../kernel/problem.ts';
import { type Declared, type DeclaredAnswer, declaration } from '../room.ts';
import type { Catalog } from './catalog.ts';
import type { PipelineDocument, ReadDocument } from './document.ts';
import { Description, type Pipeline, PipelineName } from './model.ts';

/** How a declared pipeline is told from one that somebody uploaded under the same name. */
const TAG = 'declared';

const Declaration = z.strictObject({
  /** The IR as YAML or JSON. */
  document: z.string().min(1, 'must not be empty'),
  description: Description.default(''),
  /** `<ARN of a machine>:3`, where a stack made the machine; without it one is made as for an upload. */
  machineVersion: z
    .string()
    .regex(/:stateMachine:stillflow-[a-z0-9-]+:\d+$/, 'must be the ARN of a published version')
    .optional(),
});

/**
 * Pipelines that a stack or an app's folder declares: the newest version is what is declared now, so runs by name and
 * kfp's client follow a deployment, and go back with one that is rolled back.
 */
export function declaredPipelines(catalog: Catalog, read: ReadDocument): Declared {
  const found = (call: Call, name: string) => catalog.findPipeline(call, name).catch(unlessMissing);

  return {
    async put(call, name, declared, first): Promise<DeclaredAnswer> {
      const { document: text, description, machineVersion } = declaration(Declaration, declared);
      const document = await read(text);
      const machine = machineVersion === undefined ? undefined : machineOf(machineVersion);
      const pipeline = await pipelineOf(call, name, description, first);
      const version = await versionOf(call, pipeline, document, machine);
      return { pipelineId: pipeline.id, versionId: version.id };
    },

    async remove(call, name): Promise<void> {
      const pipeline = await found(call, name);
      if (pipeline && TAG in pipeline.tags) await catalog.deletePipeline(call, pipeline.id, true);
    },
  };

  async function pipelineOf(
    call: Call,
    asked: string,
    description: string,
    first: boolean,
  ): Promise<Pipeline> {
    const name = declaration(PipelineName, asked);
    const before = await found(call, name);
    if (before && !(TAG in before.tags))
      throw new Problem(
        'exists',
        `A pipeline named '${name}' was uploaded already: delete it, or declare another name.`,
        { field: 'name' },
      );
    if (before && (first || before.description === description)) return before;
    if (before) return catalog.changePipeline(call, before.id, { description });
    const tags = { [TAG]: 'true' };
    return catalog.createPipeline(call, { name, displayName: name, description, tags });
  }

  async function versionOf(
    call: Call,
    { id, description }: Pipeline,
    document: PipelineDocument,
    machine: string | undefined,
  ) {
    const digest = createHash('sha256')
      .update(JSON.stringify([document, machine ?? null]))
      .digest('hex');
    const name = digest.slice(0, 12);
    const versions = await catalog.listVersions(call, id);
    const before = versions.find((one) => one.name === name);
    if (!before)
      return catalog.createVersion(
        call,
        id,
        { name, displayName: name, description, tags: {}, ...(machine ? { machine } : {}) },
        document,
      );
    // Declared again after another one, as when a deployment is rolled back.
    const newest = await catalog.newestVersion(call, id);
    return newest.id === before.id ? before : catalog.renewVersion(call, before, newest);
  }
}

function machineOf(arn: string): string {
  const [name = '', version = ''] = arn.split(':').slice(-2);
  return stackMachine(name.slice('stillflow-'.length), version);
}

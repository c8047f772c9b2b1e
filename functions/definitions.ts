import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type PipelineSteps, specOfSteps } from './pipelines/authoring/spec.ts';
import type { RetrainDefinition } from './triggers/definition.ts';
import { ruleOf } from './triggers/definition.ts';

/** What a pipeline does: a file that kfp's compiler wrote, or steps in TypeScript. Exactly one of both. */
export interface PipelineDefinition extends Partial<PipelineSteps> {
  /** IR as YAML or JSON. */
  readonly file?: string;
  /** Where `file` and the Python files of steps are relative to; the working directory if absent. */
  readonly folder?: string;
}

/** What an endpoint serves and how far it grows. */
export interface EndpointDefinition {
  /** `models:/demand@champion` follows the alias; `models:/demand/3` stays. */
  readonly model: string;
  readonly scale?: {
    /** Copies while nobody asks, 0 to 100; 0 if absent: nothing is billed, and the first request waits for a start. */
    readonly minimum?: number;
    /** At most so many copies, 1 to 100; 1 if absent. */
    readonly maximum?: number;
    /** Requests at once that one copy is meant for, 1 to 1000; 8 if absent. */
    readonly concurrency?: number;
    /** So long without a request until it shrinks, 10 to 86,400; 300 if absent. */
    readonly idleSeconds?: number;
  };
}

/** What an app declares, by name, as plain data: a CDK app and `stillflow start --app` read the same. */
export interface Definitions {
  readonly pipelines?: Readonly<Record<string, PipelineDefinition>>;
  readonly endpoints?: Readonly<Record<string, EndpointDefinition>>;
  readonly rules?: Readonly<Record<string, RetrainDefinition>>;
}

/** A pipeline's text: what is compiled here is what is kept there. Throws in one line that names the pipeline. */
export function documentOf(name: string, definition: PipelineDefinition, within = '.'): string {
  const { file, folder = '.', steps, ...rest } = definition;
  const at = (path: string) => readFileSync(resolve(within, folder, path), 'utf8');
  if ((file === undefined) === (steps === undefined))
    throw new Error(`pipeline '${name}' needs either a file or steps`);
  return steps ? JSON.stringify(specOfSteps(name, { ...rest, steps }, at)) : at(file ?? '');
}

/** What a room's `declared` is told of one object. */
export interface ToDeclare {
  readonly room: 'pipelines' | 'serving' | 'triggers';
  readonly kind: 'pipeline' | 'endpoint' | 'rule';
  readonly name: string;
  readonly declaration: object;
}

/** All of an app's folder, each after what it needs. Throws in one line. */
export function declarationsOf(
  { pipelines = {}, endpoints = {}, rules = {} }: Definitions,
  folder: string,
): ToDeclare[] {
  return [
    ...Object.entries(pipelines).map(([name, definition]): ToDeclare => {
      const { description } = definition;
      const document = documentOf(name, definition, folder);
      const declaration = { document, ...(description === undefined ? {} : { description }) };
      return { room: 'pipelines', kind: 'pipeline', name, declaration };
    }),
    ...Object.entries(endpoints).map(
      ([name, declaration]): ToDeclare => ({
        ...{ room: 'serving', kind: 'endpoint', name },
        declaration,
      }),
    ),
    ...Object.entries(rules).map(
      ([name, rule]): ToDeclare => ({
        ...{ room: 'triggers', kind: 'rule', name },
        declaration: ruleOf(rule),
      }),
    ),
  ];
}

import type { Call } from '../kernel/call.ts';
import type { Json } from '../kernel/json.ts';
import type { Platform } from '../platform/ports.ts';
import { type Compiled, compile } from './compiler/compile.ts';
import type { PipelineDocument } from './document.ts';
import type { PipelinesStore } from './store.ts';

/** Compiled specs kept at hand: a run's tasks all read the same one. */
const AT_HAND = 32;

export interface Specs {
  /** Pure. Throws `invalid`, naming the node. */
  compile(document: PipelineDocument): Compiled;
  /** Keeps a document by its content, which it answers, and defines its machine. Idempotent. */
  keep(call: Call, document: PipelineDocument, compiled: Compiled): Promise<string>;
  /** What a kept spec compiles to. */
  compiled(call: Call, spec: string): Promise<Compiled>;
  document(call: Call, spec: string): Promise<PipelineDocument>;
  /** Once more before every start: a deleted version may have taken the machine with it. */
  define(call: Call, compiled: Compiled): Promise<void>;
}

export function specsOf(platform: Platform, store: PipelinesStore): Specs {
  const atHand = new Map<string, Compiled>();
  const remember = (key: string, compiled: Compiled) => {
    atHand.delete(key);
    atHand.set(key, compiled);
    const [oldest] = atHand.keys();
    if (atHand.size > AT_HAND && oldest !== undefined) atHand.delete(oldest);
    return compiled;
  };
  const define = (call: Call, { machine, definition }: Compiled) =>
    platform.machines.define(call, machine, definition as unknown as Json);
  return {
    compile: ({ pipeline, platform }) => compile(pipeline, platform),
    async keep(call, document, compiled) {
      const spec = await store.keepSpec(call, document);
      await define(call, compiled);
      remember(`${call.workspace}/${spec}`, compiled);
      return spec;
    },
    async compiled(call, spec) {
      const key = `${call.workspace}/${spec}`;
      const known = atHand.get(key);
      if (known) return known;
      const { pipeline, platform } = (await store.getSpec(call, spec)) as PipelineDocument;
      return remember(key, compile(pipeline, platform));
    },
    async document(call, spec) {
      return (await store.getSpec(call, spec)) as PipelineDocument;
    },
    define,
  };
}

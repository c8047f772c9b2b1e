import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Assembly,
  ROOT,
  readAssembly,
  synthesised,
  type Templates,
} from './stack/assembly.ts';
import { type Oracles, type Stack, startOracles, startStack } from './stack/stack.ts';

export interface Opened {
  readonly stack: Stack;
  close(): Promise<void>;
}

/** The product's own assembly, once a process; a copy each time, for whoever plants a fault in it. */
export function assembly(): Assembly {
  read ??= readAssembly(synthesised());
  return { assets: read.assets, templates: structuredClone(read.templates) as Templates };
}
let read: Assembly | undefined;

/** Deployed with `-c artifacts=proxy`: bytes of artifacts come through the gateway, and clients need no AWS keys. */
export const proxyAssembly = (): Assembly =>
  readAssembly(synthesised(join(ROOT, '.cache/cdk-proxy'), { artifacts: 'proxy' }));

/** What AWS counts in minutes. */
export const HURRY_MS = 2000;

/** A stack in a folder that goes with it; waits that AWS counts in minutes are seconds. */
export async function openStack(of = assembly(), oracles?: Oracles): Promise<Opened> {
  const data = mkdtempSync(join(tmpdir(), 'stillflow-stack-'));
  const remove = () =>
    rmSync(data, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  try {
    const stack = await startStack({
      assembly: of,
      data,
      port: 0,
      hurryMs: HURRY_MS,
      log: (line) => {
        if (process.env['STACK_LOG']) process.stderr.write(`${JSON.stringify(line)}\n`);
      },
      ...(oracles ? { oracles, salt: data } : {}),
    });
    return {
      stack,
      async close() {
        await stack.close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

export { type Oracles, startOracles };

import type { Platform } from '../platform/ports.ts';
import type { StepTokens } from '../workspaces/index.ts';
import type { Specs } from './specs.ts';
import type { PipelinesStore } from './store.ts';
import type { RunTracking } from './tracked.ts';

/** Whether this world runs a command of an image (undefined: our pinned Python), and with which warning. */
export type RunsImage = (
  image: string | undefined,
  command: readonly string[],
) => { readonly ok: true; readonly warning?: string } | { readonly refused: string };

export type Log = (line: Record<string, unknown>) => void;

/** What runs are made with. */
export interface RunParts {
  readonly platform: Platform;
  readonly store: PipelinesStore;
  readonly specs: Specs;
  readonly tracking: RunTracking;
  readonly runsImage: RunsImage;
  readonly stepTokens?: StepTokens | undefined;
  readonly log?: Log | undefined;
}

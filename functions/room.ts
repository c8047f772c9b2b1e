import type { Route } from './kernel/route.ts';
import type { Folder, Follower, Task } from './platform/ports.ts';

/** What a room's `index.ts` gives. Building a room touches nothing: stacks, docs and tests build it to read it. */
export interface Room {
  readonly routes: readonly Route[];
  readonly followers: readonly Follower[];
  /** The Lambda functions that machines may invoke, by name: `begin-task`. */
  readonly tasks: Readonly<Record<string, Task>>;
  readonly folders: readonly Folder[];
}

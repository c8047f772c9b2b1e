import { createHash } from 'node:crypto';
import type { Key } from '../platform/ports.ts';
import type { ExperimentId, Lifecycle, RunId } from './model.ts';

/**
 * Where runs lie, as docs/decisions/001-tracking-layout.md has it:
 *
 *   R#<run>             HEAD             experiment, shard, lifecycle: what a write must know first
 *                       DOC, DOC#0001    the document: attributes, params, tags, latest metrics, inputs, outputs
 *                       PAST#<version>#n folded points
 *   X#<exp>#<shard>     LOG#<run>#<ulid> a batch, not folded yet
 *                       LOG#<run>#~      the run's place in its experiment: lifecycle, and the version last folded to
 *   D#<exp>             S#<hash>, C#<hash>  a dataset, and each context it was read in
 *
 * The log entry is put before (with params or tags: with) the answer, and is removed only in a commit after the one
 * that folded it. So a reader finds each point in the log, in the document, or in both; laying it over twice is
 * harmless. A batch that changes the document anyway is folded by its own commit. A reader that saw an older document than the place says was folded reads it again.
 */
export const LOG_PREFIX = 'LOG#';
const PLACE = '~';

/** A run's log partition; it never changes. */
export interface Shelf {
  readonly experimentId: ExperimentId;
  readonly shard: number;
}

export interface Head extends Shelf {
  readonly lifecycle: Lifecycle;
}

export interface Place {
  readonly runId: RunId;
  readonly lifecycle: Lifecycle;
  readonly folded: number;
}

export const shelfKey = ({ experimentId, shard }: Shelf): string => `X#${experimentId}#${shard}`;

export const keys = {
  head: (run: RunId): Key => ({ pk: `R#${run}`, sk: 'HEAD' }),
  place: (at: Shelf, run: RunId): Key => ({
    pk: shelfKey(at),
    sk: `${LOG_PREFIX}${run}#${PLACE}`,
  }),
  log: (at: Shelf, run: RunId, id: string): Key => ({
    pk: shelfKey(at),
    sk: `${LOG_PREFIX}${run}#${id}`,
  }),
  past: (run: RunId, version: number, index: number): Key => ({
    pk: `R#${run}`,
    sk: `PAST#${String(version).padStart(10, '0')}#${String(index).padStart(3, '0')}`,
  }),
};

/** Of the items under `LOG_PREFIX`: a run's place, which sorts after its entries. */
export const isPlace = ({ sk }: Key): boolean => sk.endsWith(PLACE);

export const shardOf = (runId: string, shards: number): number =>
  shards === 1 ? 0 : (createHash('sha256').update(runId).digest()[0] ?? 0) % shards;

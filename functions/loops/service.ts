import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import type { Event, Told } from '../kernel/event.ts';
import type { Json } from '../kernel/json.ts';
import type { Page, Pages } from '../kernel/page.ts';
import { Problem } from '../kernel/problem.ts';
import { newUlid, type World } from '../kernel/world.ts';
import { endedOf } from '../platform/ended.ts';
import { reasonOf } from '../platform/failure.ts';
import type { Machines } from '../platform/ports.ts';
import { settler } from '../platform/settle.ts';
import type { RunSeen, Runs } from '../triggers/runs.ts';
import { candidateOf, decide, noVersion, numberOf, oneLine, outputAt, refusalOf } from './gate.ts';
import {
  type Decision,
  Retraining,
  type RetrainingAsked,
  type RetrainingRecord,
  type RetrainingState,
} from './model.ts';
import type { RetrainingStore } from './store.ts';

/** What loops asks of the rooms below. */
export interface LoopRooms {
  readonly runs: Pick<Runs, 'prepareRun' | 'getRun'>;
  readonly models: {
    /** Throws `missing`. */
    version(call: Call, name: string, version: number): Promise<{ runId?: string | undefined }>;
    /** The newest hundred of a model, newest first; none where it does not exist. */
    newest(
      call: Call,
      name: string,
    ): Promise<readonly { version: number; runId?: string | undefined }[]>;
    /** Undefined where the alias, or the model, does not exist. */
    aliased(
      call: Call,
      name: string,
      alias: string,
    ): Promise<{ version: number; runId?: string | undefined } | undefined>;
    /** Throws `precondition`, saying where it points, unless that is `from` (null: nowhere), or `version` already. */
    setAlias(
      call: Call,
      alias: { name: string; alias: string; version: number; from: number | null },
    ): Promise<void>;
  };
  /** The latest value of a run's metric; undefined where it was never logged or is not finite. */
  metric(call: Call, runId: string, metric: string): Promise<number | undefined>;
}

export interface LoopParts extends LoopRooms {
  readonly store: RetrainingStore;
  readonly machines: Machines;
  readonly world: World;
  readonly pages: Pages;
}

const MACHINE = 'retraining';
const subject = (id: string) => `retrainings/${id}`;

/**
 * The circle: an event starts a pipeline run, its new version is held against the champion, and if it is better the
 * alias moves, which every endpoint that follows it hears. The machine `retraining` walks it; `begin`, `gate` and
 * `promote` are its steps, each of which finds what it did before in the retraining's record and may run twice.
 * One id names record, execution and run, so one firing is one retraining however often it is started.
 */
export function loopService(parts: LoopParts) {
  const { store, machines, runs, models, metric, world, pages } = parts;
  const settle = settler(world);

  async function start(call: Call, retraining: Retraining): Promise<void> {
    const input = JSON.parse(JSON.stringify(retraining)) as Json;
    await machines.start(call, MACHINE, retraining.retraining, input);
  }

  const fresh = ({ retraining: id, ...asked }: Retraining): RetrainingRecord => ({
    ...asked,
    id,
    state: 'running',
    generation: 1,
    startedAt: world.now(),
  });

  /** The record as it will stand at the end, and the event that tells it. */
  function ended(
    before: RetrainingRecord,
    state: Exclude<RetrainingState, 'running'>,
    decision: Decision,
  ): { after: RetrainingRecord; event: Event } {
    const { id, gate, rule, cause, runId } = before;
    const after: RetrainingRecord = {
      ...before,
      state,
      decision,
      reason: decision.reason,
      endedAt: world.now(),
      generation: before.generation + 1,
    };
    const data = {
      retraining: id,
      outcome: state,
      promoted: state === 'promoted',
      reason: decision.reason,
      model: gate.model,
      alias: gate.alias,
      metric: gate.metric,
      version: decision.version ?? null,
      champion: decision.champion ?? null,
      before: decision.before ?? null,
      after: decision.after ?? null,
      rule: rule ?? null,
      cause: cause ?? null,
      runId: runId ?? null,
    };
    return { after, event: { type: 'loops.retraining.ended', subject: subject(id), data } };
  }

  async function recordOf(call: Call, retraining: Retraining): Promise<RetrainingRecord> {
    const before = await store.find(call, retraining.retraining);
    if (before) return before;
    const record = fresh(retraining);
    await store.change(call, undefined, record, startedEvent(record));
    return record;
  }

  async function compared(call: Call, record: RetrainingRecord, run: RunSeen): Promise<Decision> {
    const { gate } = record;
    const newest = gate.version === undefined ? await models.newest(call, gate.model) : [];
    const version = candidateOf(run, gate, newest);
    if (version === undefined) return { outcome: 'kept', reason: noVersion(run, gate) };
    let candidate: { runId?: string | undefined };
    try {
      candidate = await models.version(call, gate.model, version);
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'missing') throw error;
      return { outcome: 'refused', reason: `${gate.model} has no version ${version}`, version };
    }
    const champion = await models.aliased(call, gate.model, gate.alias);
    const measured = async (
      place: string | undefined,
      of: { runId?: string | undefined },
    ): Promise<number | undefined> => {
      if (place !== undefined) return numberOf(outputAt(run, place));
      return of.runId === undefined ? undefined : metric(call, of.runId, gate.metric);
    };
    return decide(gate, {
      version,
      after: await measured(gate.after, candidate),
      champion: champion?.version,
      before: champion && (await measured(gate.before, champion)),
    });
  }

  const service = {
    /** By hand. The machine starts now, or by the follower of this commit. */
    async create(call: Call, asked: RetrainingAsked): Promise<RetrainingRecord> {
      const retraining: Retraining = { ...asked, retraining: `manual-${newUlid(world)}` };
      const record = fresh(retraining);
      await store.change(call, undefined, record, {
        type: 'loops.retraining.asked',
        subject: subject(record.id),
        data: { retraining },
        answer: record,
      });
      await start(call, retraining);
      return record;
    },

    /** Hears `loops.retraining.asked`: starts what a lost process did not. */
    async restart(call: Call, told: Told): Promise<void> {
      await start(call, Asked.parse(told.data).retraining);
    },

    /** Throws `missing`. */
    async get(call: Call, id: string): Promise<RetrainingRecord> {
      const record = await store.find(call, id);
      if (!record) throw new Problem('missing', `Retraining ${id} not found.`);
      return record;
    },

    /** The machine `retraining`, and what of it this one has run. Throws `missing`. */
    async machineOf(call: Call, id: string) {
      const record = await service.get(call, id);
      const definition = await machines.definition(call, MACHINE);
      if (definition === undefined) throw new Problem('missing', `There is no machine ${MACHINE}.`);
      const begun = await machines.describe(call, MACHINE, id);
      // Some dozen events: one page holds them.
      const events = begun ? await machines.history(call, MACHINE, id) : [];
      return { record, definition, events };
    },

    /** Newest first. */
    async list(call: Call, limit: number, token?: string): Promise<Page<RetrainingRecord>> {
      const after = token && pages.open<string>(call, 'retrainings', token);
      const { records: items, next } = await store.page(call, limit, after);
      return next === undefined
        ? { items }
        : { items, next: pages.seal(call, 'retrainings', next) };
    },

    /** Prepares the pipeline run; answers what the machine starts it with. Throws what pipelines throws. */
    async begin(call: Call, retraining: Retraining) {
      const { retraining: id, pipeline, version, parameters, experiment } = retraining;
      await settle(call, subject(id), () => recordOf(call, retraining));
      const asked = { pipeline, version, experiment, parameters, name: id, idempotency: id };
      const { runId, start: first } = await runs.prepareRun(call, asked);
      await settle(call, subject(id), async () => {
        const before = await recordOf(call, retraining);
        if (before.runId === runId) return;
        const after = { ...before, runId, generation: before.generation + 1 };
        await store.change(call, before, after, {
          type: 'loops.run.prepared',
          subject: subject(id),
          data: { retraining: id, runId },
        });
      });
      return { runId, start: first };
    },

    /** `error`: why the run did not succeed, if it did not. The decision is made once and kept. */
    gate: (call: Call, retraining: Retraining, error: string | undefined): Promise<Decision> =>
      settle(call, subject(retraining.retraining), async () => {
        const before = await recordOf(call, retraining);
        if (before.decision) return before.decision;
        const run = before.runId === undefined ? undefined : await runs.getRun(call, before.runId);
        const decision =
          error !== undefined || !run
            ? refusalOf(run, error ?? 'no run was prepared')
            : await compared(call, before, run);
        if (decision.outcome !== 'promote') {
          const { after, event } = ended(before, decision.outcome, decision);
          await store.change(call, before, after, event);
          return decision;
        }
        const after = { ...before, decision, generation: before.generation + 1 };
        await store.change(call, before, after, {
          type: 'loops.gate.passed',
          subject: subject(before.id),
          data: { retraining: before.id, ...decision },
        });
        return decision;
      }),

    /** Moves the alias, unless the champion is no longer the one that was compared. */
    promote: (call: Call, id: string): Promise<{ outcome: RetrainingState; reason: string }> =>
      settle(call, subject(id), async () => {
        const before = await store.find(call, id);
        const { decision } = before ?? {};
        if (!before || decision?.version === undefined)
          throw new Problem('missing', `Retraining ${id} has passed no gate.`);
        if (before.state !== 'running')
          return { outcome: before.state, reason: before.reason ?? '' };
        const { model: name, alias } = before.gate;
        const { version, champion: from = null } = decision;
        try {
          await models.setAlias(call, { name, alias, version, from });
        } catch (error) {
          if (!(error instanceof Problem) || error.code !== 'precondition') throw error;
          const reason = error.message;
          const { after, event } = ended(before, 'kept', { ...decision, outcome: 'kept', reason });
          await store.change(call, before, after, event);
          return { outcome: 'kept', reason };
        }
        const { after, event } = ended(before, 'promoted', decision);
        await store.change(call, before, after, event);
        return { outcome: 'promoted', reason: decision.reason };
      }),

    /** Hears the end of executions: one that was stopped, or died of something else, says so in its record. */
    async close(call: Call, told: Told): Promise<void> {
      const { machine, execution: id, state, error, cause } = endedOf(told);
      if (machine !== MACHINE || state === 'SUCCEEDED') return;
      await settle(call, subject(id), async () => {
        const before = await store.find(call, id);
        if (before?.state !== 'running') return;
        const reason = oneLine(reasonOf({ error, cause }) ?? `the execution ended ${state}`);
        const { after, event } = ended(before, 'failed', {
          ...before.decision,
          outcome: 'refused',
          reason,
        });
        await store.change(call, before, after, event);
      });
    },
  };
  return service;
}
export type LoopService = ReturnType<typeof loopService>;

const Asked = z.object({ retraining: Retraining });

const startedEvent = ({ id, rule, cause, pipeline, gate }: RetrainingRecord): Event => ({
  type: 'loops.retraining.started',
  subject: subject(id),
  data: { retraining: id, rule: rule ?? null, cause: cause ?? null, pipeline, model: gate.model },
});

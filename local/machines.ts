import type { Call } from '../functions/kernel/call.ts';
import { systemCall } from '../functions/kernel/call.ts';
import type { WorkspaceId } from '../functions/kernel/ids.ts';
import type { Json } from '../functions/kernel/json.ts';
import { Problem } from '../functions/kernel/problem.ts';
import { newUlid, type World } from '../functions/kernel/world.ts';
import { checkMachineName, checkStart } from '../functions/platform/machine_spec.ts';
import { type Execution, type Machines, Refused, type Table } from '../functions/platform/ports.ts';
import type { StateMachine } from '../statemachines/asl.ts';
import { INVOKE, isWritten, START_EXECUTION } from '../statemachines/resources.ts';
import { readMachine } from './asl/check.ts';
import { ACCOUNT, childResult, deployedName, readChild, startError } from './asl/child.ts';
import type { Engine, Integration } from './asl/engine.ts';
import { MachineError } from './asl/errors.ts';
import {
  clearEnded,
  type ExecutionOptions,
  type LiveExecution,
  liveExecution,
} from './asl/execution.ts';
import { type Functions, lambdaInvoke } from './asl/integrations.ts';
import { canonical, digestOf, executionKey, journal, type Started } from './asl/journal.ts';
import { createEvaluator } from './asl/jsonata.ts';
import { realTimers, type Timers } from './asl/timers.ts';

export interface LocalMachinesOptions {
  readonly table: Table;
  readonly world: World;
  /** The texts of statemachines/*.asl.json, by name without `stillflow-`. */
  readonly written: { readonly [name: string]: Json };
  readonly timers?: Timers;
  readonly log?: (line: { [name: string]: unknown }) => void;
}

export interface ServeOptions extends Functions {
  /** By Resource: `arn:aws:states:::sagemaker:createTrainingJob.sync`. */
  readonly integrations: { readonly [resource: string]: Integration };
  /** Whose open executions go on. */
  readonly workspaces: readonly WorkspaceId[];
}

/**
 * Step Functions on one machine. What is started before `serve` is kept, and begins then. Where it differs on purpose:
 * JSONata only; no heartbeats, task tokens, distributed Maps or redrives; a `.sync` tells no TaskSubmitted; an aborted
 * branch tells nothing; a task whose time ran out while the server was down is asked once more; what machines may call
 * is statemachines/resources.ts.
 */
export interface LocalMachines extends Machines {
  /** Says what tasks run, and carries on all open executions. Once. */
  serve(options: ServeOptions): Promise<void>;
  /** How many executions this process carries. */
  running(): number;
  /** Lets go of everything; jobs run on. What was acknowledged is in the table. */
  close(): Promise<void>;
}

const HISTORY_PAGE = 1000;
const COMMIT_MS = 60_000;

export function localMachines(options: LocalMachinesOptions): LocalMachines {
  const { table, world, written } = options;
  const kept = journal(table);
  const closing = new AbortController();
  const live = new Map<string, { started: Started; workspace: string; run: LiveExecution }>();
  const texts = new Map<string, Promise<StateMachine | undefined>>();
  let integrations: { readonly [resource: string]: Integration } | undefined;

  const engine: Engine = {
    world,
    timers: options.timers ?? realTimers(world),
    evaluator: createEvaluator(world),
    closing: closing.signal,
    integration(resource) {
      const found = integrations && Object.hasOwn(integrations, resource) && integrations[resource];
      if (!found)
        throw new MachineError('States.Runtime', `Nothing here runs the Resource ${resource}.`);
      return found;
    },
    log: options.log ?? (() => undefined),
  };

  const ownCall = (workspace: string): Call =>
    systemCall(workspace as WorkspaceId, 'machines', newUlid(world), world.now() + COMMIT_MS);

  // ---------------------------------------------------------------- machines

  /** The digest of a machine's text as it is now. */
  async function currentDigest(call: Call, name: string): Promise<string | undefined> {
    return Object.hasOwn(written, name)
      ? digestOf(written[name] ?? null)
      : kept.defined(call, name);
  }

  function textOf(call: Call, name: string, digest: string): Promise<StateMachine | undefined> {
    const key = `${call.workspace}#${name}#${digest}`;
    const known = texts.get(key);
    if (known) return known;
    const reading = kept.readText(call, name, digest);
    texts.set(key, reading);
    reading.then(
      (found) => found ?? texts.delete(key),
      () => texts.delete(key),
    );
    return reading;
  }

  /** Takes the text of a removed machine away once none of its executions is open. */
  async function forget(workspace: string, name: string, digest: string) {
    const call = ownCall(workspace);
    const used = [...live.values()].some(
      (other) =>
        other.workspace === workspace &&
        other.started.machine === name &&
        other.started.digest === digest,
    );
    if (used) return;
    texts.delete(`${workspace}#${name}#${digest}`);
    if ((await currentDigest(call, name)) === digest) return;
    await kept.removeText(call, name, digest);
  }

  // ---------------------------------------------------------------- executions

  const liveKey = (workspace: string, machine: string, execution: string) =>
    `${workspace}#${machine}#${execution}`;

  function executionOptions(
    workspace: string,
    started: Started,
    machine: StateMachine,
  ): ExecutionOptions {
    const deployed = deployedName(workspace, started.machine);
    const name = `${workspace}-${started.execution}`;
    return {
      engine,
      table,
      journal: kept,
      started,
      machine,
      workspace,
      call: () => ownCall(workspace),
      context: {
        Execution: {
          Id: `${ACCOUNT}:execution:${deployed}:${name}`,
          Input: started.input,
          Name: name,
          RedriveCount: 0,
          RoleArn: 'arn:aws:iam::000000000000:role/stillflow',
          StartTime: new Date(started.startedAt).toISOString(),
        },
        StateMachine: { Id: `${ACCOUNT}:stateMachine:${deployed}`, Name: deployed },
      },
    };
  }

  function launch(workspace: string, started: Started, machine: StateMachine): LiveExecution {
    const key = liveKey(workspace, started.machine, started.execution);
    const running = live.get(key);
    if (running) return running.run;
    const run = liveExecution(executionOptions(workspace, started, machine));
    live.set(key, { started, workspace, run });
    void run.over.then(async () => {
      if (closing.signal.aborted) return;
      live.delete(key);
      await forget(workspace, started.machine, started.digest).catch((error) =>
        engine.log({ level: 'error', message: 'a text stays', error: String(error) }),
      );
    });
    return run;
  }

  async function resume(workspace: WorkspaceId) {
    const call = ownCall(workspace);
    for await (const { machine, execution } of kept.open(call)) {
      if (live.has(liveKey(workspace, machine, execution))) continue;
      const record = await kept.read(call, machine, execution);
      if (!record) continue;
      const text = await textOf(call, machine, record.started.digest);
      if (!text) {
        engine.log({ level: 'error', message: 'an execution lost its text', machine, execution });
        continue;
      }
      if (!record.ended) launch(workspace, record.started, text);
      else await clearEnded(executionOptions(workspace, record.started, text));
    }
  }

  /** Starts once by name; a repeat with the same input finds the first. */
  async function begin(
    call: Call,
    machine: string,
    execution: string,
    input: Json,
    parent: string,
  ): Promise<void> {
    checkStart(machine, execution, input);
    const digest = await currentDigest(call, machine);
    if (digest === undefined)
      throw new Problem('missing', `The state machine ${machine} is not defined.`);
    const own = Object.hasOwn(written, machine) ? written[machine] : undefined;
    const text = own === undefined ? await textOf(call, machine, digest) : readMachine(own);
    if (!text) throw new Problem('missing', `The state machine ${machine} is not defined.`);
    const startedAt = world.now();
    const started = { machine, execution, digest, input, startedAt, parent };
    const texts = own === undefined ? [] : kept.textWrites(machine, digest, own);
    try {
      await table.commit(call, [...kept.startWrites(started), ...texts]);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const first = await kept.read(call, machine, execution);
      if (first && canonical(first.started.input) === canonical(input)) return;
      throw new Problem('exists', `Execution ${execution} was started with another input.`);
    }
    if (integrations) launch(call.workspace, started, text);
  }

  async function describe(
    call: Call,
    machine: string,
    execution: string,
  ): Promise<Execution | undefined> {
    const record = await kept.read(call, machine, execution);
    if (!record) return undefined;
    const { input, startedAt } = record.started;
    return { machine, execution, state: 'RUNNING', input, startedAt, ...record.ended };
  }

  async function carryOn(call: Call, machine: string, execution: string) {
    const record = await kept.read(call, machine, execution);
    if (!record || record.ended) return undefined;
    const text = await textOf(call, machine, record.started.digest);
    return text && launch(call.workspace, record.started, text);
  }

  /** `states:startExecution.sync:2`: a child by name, its end awaited, its output as JSON. */
  const startExecution: Integration = async (call, args, context, signal) => {
    const { machine, execution } = readChild(call.workspace, args);
    const { Input = {} } = args as { Input?: Json };
    const key = liveKey(call.workspace, machine, execution);
    const stop = () => live.get(key)?.run.stop(call, 'The execution that started it was stopped.');
    if (signal.aborted) {
      await stop();
      throw new MachineError('States.TaskFailed', 'aborted');
    }
    try {
      const before = await kept.read(call, machine, execution);
      if (before && before.started.parent !== context.id)
        throw new Problem('exists', `Execution ${execution} already exists.`);
      if (!before) await begin(call, machine, execution, Input, context.id);
    } catch (error) {
      throw error instanceof Problem ? startError(error) : error;
    }
    signal.addEventListener('abort', stop);
    try {
      // After a restart the parent may be carried on before its child is.
      const child = live.get(key)?.run ?? (await carryOn(call, machine, execution));
      await child?.ended;
    } finally {
      signal.removeEventListener('abort', stop);
    }
    const end = await describe(call, machine, execution);
    if (!end) throw new MachineError('States.Runtime', `Execution ${execution} is gone.`);
    return childResult(call.workspace, end);
  };

  return {
    async define(call, name, definition) {
      checkMachineName(name);
      if (isWritten(name) || Object.hasOwn(written, name))
        throw new Problem('conflict', `${name} is a written state machine: choose another name.`);
      readMachine(definition);
      const digest = digestOf(definition);
      try {
        await table.commit(call, [
          kept.definedWrite(name, digest),
          ...kept.textWrites(name, digest, definition),
        ]);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if ((await kept.defined(call, name)) === digest) return;
        throw new Problem('conflict', `The state machine ${name} is defined with another text.`);
      }
    },

    async remove(call, name) {
      if (isWritten(name) || Object.hasOwn(written, name))
        throw new Problem('conflict', `${name} is a written state machine and stays.`);
      const digest = await kept.defined(call, name);
      if (digest === undefined) return;
      await table.commit(call, [kept.undefinedWrite(name)]);
      await forget(call.workspace, name, digest);
    },

    start: (call, machine, execution, input) => begin(call, machine, execution, input, ''),

    async stop(call, machine, execution, reason) {
      const found = await kept.read(call, machine, execution);
      if (!found) throw new Problem('missing', `Execution ${execution} not found.`);
      if (found.ended) return;
      const text = await textOf(call, machine, found.started.digest);
      if (!text) throw new Problem('missing', `The state machine ${machine} is not defined.`);
      const { workspace } = call;
      const running = live.get(liveKey(workspace, machine, execution))?.run;
      await (running ?? launch(workspace, found.started, text)).stop(call, reason);
    },

    describe,

    address: (call, machine, execution) => ({
      StateMachineArn: `${ACCOUNT}:stateMachine:${deployedName(call.workspace, machine)}`,
      Name: `${call.workspace}-${execution}`,
    }),

    async history(call, machine, execution, afterId = 0) {
      if (!(await kept.read(call, machine, execution)))
        throw new Problem('missing', `Execution ${execution} not found.`);
      return kept.history(call, executionKey(machine, execution), afterId, HISTORY_PAGE);
    },

    async definition(call, machine) {
      const own = Object.hasOwn(written, machine) ? written[machine] : undefined;
      if (own !== undefined) return own;
      const digest = await kept.defined(call, machine);
      if (digest === undefined) return undefined;
      return (await textOf(call, machine, digest)) as unknown as Json | undefined;
    },

    async serve(serving) {
      if (integrations) throw new Error('machines are served once');
      integrations = {
        [INVOKE]: lambdaInvoke(serving),
        [START_EXECUTION]: startExecution,
        ...serving.integrations,
      };
      for (const workspace of serving.workspaces) await resume(workspace);
    },

    running: () => live.size,

    async close() {
      closing.abort();
      await Promise.all([...live.values()].map(({ run }) => run.over));
      live.clear();
    },
  };
}

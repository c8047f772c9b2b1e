import { beforeEach, describe, expect, test } from 'vitest';
import { type DropsService, dropsService } from '../../functions/artifacts/drops.ts';
import { arrival } from '../../functions/handlers/heard.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import { type RunAsked, triggersRoom } from '../../functions/triggers/index.ts';
import { BAD_PATHS } from '../bad-paths.ts';
import { call, type House, openHouse } from '../house.ts';

let home: House;
let drops: DropsService;
let room: ReturnType<typeof triggersRoom>;
/** Runs by their retry key, as pipelines keeps them. */
let runs: Map<string, RunAsked>;
let asked: number;
let trouble: Problem | undefined;
/** The name of the pipeline run behind an MLflow run. */
let behind: Map<string, string>;

beforeEach(() => {
  runs = new Map();
  asked = 0;
  trouble = undefined;
  behind = new Map();
  home = openHouse((ground) => {
    drops = dropsService(ground.blobs, ground.table, ground.world);
    room = triggersRoom(ground, {
      async check(_call, { pipeline }) {
        if (pipeline !== 'train') throw new Problem('missing', `Pipeline ${pipeline} not found.`);
      },
      async checkExperiment(_call, experiment) {
        if (experiment === 'gone') throw new Problem('missing', 'Experiment gone not found.');
      },
      nameBehind: async (_call, runId) => behind.get(runId),
      async createRun(_call, run) {
        asked += 1;
        if (trouble) throw trouble;
        runs.set(run.idempotency, run);
        return { runId: `run-of-${run.idempotency}` };
      },
    });
    return { room };
  });
});

const START = { pipeline: 'train' };
const put = (rule: object, name = 'r') =>
  home.ask('PUT', `/api/rules/${name}`, { start: START, ...rule });
const onCustom = (more = {}) => ({ event: { type: 'custom.drift.seen', ...more } });
const send = (event: object, headers = {}) =>
  home.ask('POST', '/api/events', { type: 'custom.drift.seen', ...event }, { headers });
const arrive = (path: string, text: string) => drops.arrive(call, path, new Blob([text]).stream());
/** As S3 says it on the account's own bus, of whatever was put into the bucket. */
const arriveAtS3 = async (path: string, etag: string) => {
  const told = arrival({
    time: new Date(home.world.now()).toISOString(),
    detail: { bucket: { name: 'b' }, object: { key: `${call.workspace}/data/${path}`, etag } },
  } as never);
  if (told) await home.bus.publish([told]);
};
interface Firing {
  id: string;
  outcome: string;
  why: string;
  cause: { type: string };
  started?: { kind: string; id: string };
}
const firings = async (name = 'r') =>
  ((await home.ask('GET', `/api/rules/${name}/firings`)).body as { firings: Firing[] }).firings;
const outcomes = async (name = 'r') => (await firings(name)).map(({ outcome }) => outcome);
const parameters = () => [...runs.values()].map((run) => run.parameters);

describe('a rule on what runs tell', () => {
  /** As pipelines tells that a run of this name ended. */
  const ended = (name: string) =>
    home.table.commit(call, [], {
      type: 'pipelines.run.succeeded',
      subject: `pipelines/runs/${name}`,
      data: { id: name, name, pipeline: 'train' },
    });
  const heard = async (name: string) => {
    await ended(name);
    await home.quiet();
    // What a burst waits for.
    home.world.pass(6000);
    await room.tick(call);
    await home.quiet();
  };
  const onEnd = { event: { type: 'pipelines.run.*' } };

  test.each([0, 5])('does not start itself for ever (debounce %d s)', async (debounceSeconds) => {
    await put({ on: onEnd, debounceSeconds });
    await heard('by-hand');
    expect(runs.size).toBe(1);
    for (const name of [...runs.keys()]) await heard(name);
    expect(runs.size).toBe(1);
    expect((await outcomes()).sort()).toEqual(['own-run', 'started']);
  });

  test("does not start itself by what its run's MLflow runs tell", async () => {
    await put({ on: { event: { type: 'tracking.metric-rule.*' } } });
    const held = async (runId: string) => {
      home.world.pass(10);
      await home.table.commit(call, [], {
        type: 'tracking.metric-rule.held',
        subject: `runs/${runId}`,
        data: { ruleId: 'drift', runId },
      });
      await home.quiet();
    };
    await held('by-hand');
    const [started = ''] = runs.keys();
    behind.set('of-its-step', started);
    behind.set('of-somebody', 'nightly');
    await held('of-its-step');
    await held('of-somebody');
    expect(await outcomes()).toEqual(['started', 'own-run', 'started']);
  });

  test('nor by way of another rule, and the other still hears it', async () => {
    await put({ on: onEnd, enabled: true }, 'ping');
    await heard('by-hand');
    await put({ on: onEnd }, 'pong-2');
    for (let round = 0; round < 5; round++) for (const name of [...runs.keys()]) await heard(name);
    expect(new Set(await outcomes('ping'))).toEqual(new Set(['started', 'own-run']));
    const byPing = [...runs.keys()].filter((name) => name.startsWith('ping-'));
    expect(byPing).toHaveLength(1);
    expect([...runs.keys()].some((name) => name.startsWith('pong-2-'))).toBe(true);
  });
});

describe('the experiment of what a rule starts', () => {
  const at = (experiment: unknown) =>
    put({ on: onCustom(), start: { pipeline: 'train', experiment } });
  const experiments = () => [...runs.values()].map(({ experiment }) => experiment);

  test('is passed on as it is named, or taken from the event', async () => {
    await put({ on: onCustom() }, 'plain');
    await at('study');
    await put({ on: onCustom(), start: { pipeline: 'train', experiment: '$.data.where' } }, 'told');
    await send({ data: { where: '7' } });
    await home.quiet();
    expect(experiments().sort()).toEqual(['7', 'study', undefined]);
  });

  test('fails the firing that has none', async () => {
    await at('$.data.where');
    for (const data of [{}, { where: 7 }, { where: ' ' }]) await send({ data });
    await home.quiet();
    expect(runs.size).toBe(0);
    expect((await firings()).map(({ why }) => why)).toEqual([
      'The experiment at $.data.where must be a name or an id.',
      'The experiment at $.data.where must be a name or an id.',
      'experiment: the event has nothing at $.data.where.',
    ]);
  });

  test.each(['gone', '', ' ', 'x'.repeat(129), 'a\u0000b', 7])('%j is refused', async (named) => {
    expect(await at(named)).toMatchObject({ status: 400, body: { field: 'start.experiment' } });
  });
});

describe('an event', () => {
  test('starts a run with parameters from it', async () => {
    await put({
      on: onCustom(),
      start: {
        pipeline: 'train',
        parameters: {
          path: '$.data.path',
          deep: { list: ['$.data.items[1].n', 'x'] },
          who: '$.type',
          literal: '$$.data.path',
          price: '$5',
          number: 7,
        },
      },
    });
    await send({ data: { path: 'a/b', items: [{ n: 1 }, { n: 2 }] } });
    await home.quiet();
    expect(parameters()).toEqual([
      {
        path: 'a/b',
        deep: { list: [2, 'x'] },
        who: 'custom.drift.seen',
        literal: '$.data.path',
        price: '$5',
        number: 7,
      },
    ]);
    const [firing] = await firings();
    expect(firing).toMatchObject({
      outcome: 'started',
      cause: { type: 'custom.drift.seen' },
      started: { kind: 'run', id: `run-of-r-${firing?.id}` },
    });
  });

  test('heard ten times and out of order fires once each', async () => {
    await put({ on: onCustom(), start: { ...START, parameters: { n: '$.data.n' } } });
    for (let n = 0; n < 5; n += 1) await send({ subject: 'x', data: { n } });
    await home.quiet();
    const { entries } = await home.table.entries(call, 'custom/x');
    expect(entries).toHaveLength(5);
    for (let i = 0; i < 10; i += 1) await home.bus.publish([...entries].reverse());
    await home.quiet();
    expect(runs.size).toBe(5);
    expect(asked).toBe(5);
    expect(new Set(parameters().map((each) => each['n']))).toEqual(new Set([0, 1, 2, 3, 4]));
    expect(await outcomes()).toEqual(Array(5).fill('started'));
  });

  test('fires only the rules that match it', async () => {
    await put({ on: { event: { type: 'custom.*' } } }, 'all');
    await put({ on: onCustom({ match: { '$.data.level': { above: 3 } } }) }, 'high');
    await put({ on: onCustom({ match: { '$.data.level': { below: 3 } } }) }, 'low');
    await put({ on: onCustom({ match: { '$.data.kind': ['a', 'b'] } }) }, 'kind');
    await put({ on: onCustom({ match: { '$.subject': { prefix: 'custom/eu/' } } }) }, 'eu');
    await put({ on: onCustom({ match: { '$.data.missing': null } }) }, 'missing');
    await put({ on: { event: { type: 'custom.other.seen' } } }, 'other');
    await send({ subject: 'eu/1', data: { level: 4, kind: 'b' } });
    await home.quiet();
    const fired = [];
    for (const name of ['all', 'high', 'low', 'kind', 'eu', 'missing', 'other'])
      if ((await firings(name)).length) fired.push(name);
    expect(fired).toEqual(['all', 'high', 'kind', 'eu']);
  });

  test('that lacks a place fails the firing by name and starts nothing', async () => {
    await put({ on: onCustom(), start: { ...START, parameters: { p: '$.data.none' } } });
    await send({});
    await home.quiet();
    expect(await firings()).toMatchObject([
      { outcome: 'failed', why: "Parameter 'p': the event has nothing at $.data.none." },
    ]);
    expect(asked).toBe(0);
  });

  test('cannot reach what is not its own', async () => {
    await put({ on: onCustom(), start: { ...START, parameters: { p: '$.data.__proto__' } } });
    await put(
      { on: onCustom(), start: { ...START, parameters: { p: '$.constructor.name' } } },
      'q',
    );
    await send({});
    await home.quiet();
    expect([await outcomes('r'), await outcomes('q')]).toEqual([['failed'], ['failed']]);
  });

  test('told before the rule was made does not fire it', async () => {
    await send({ id: 'old', subject: 'x' });
    await home.quiet();
    await put({ on: onCustom() });
    const { entries } = await home.table.entries(call, 'custom/x');
    await home.bus.publish(entries);
    await home.quiet();
    expect(await firings()).toEqual([]);
  });

  test('a disabled rule hears nothing; enabled again it does', async () => {
    await put({ on: onCustom() });
    await home.ask('POST', '/api/rules/r/disable');
    await send({});
    await home.quiet();
    expect(await firings()).toEqual([]);
    expect((await home.ask('POST', '/api/rules/r/enable')).body).toMatchObject({ enabled: true });
    await send({});
    await home.quiet();
    expect(await outcomes()).toEqual(['started']);
  });

  test('a purse: what comes beyond maximumPerHour starts nothing, until the next hour', async () => {
    await put({ on: onCustom(), maximumPerHour: 2 });
    for (let i = 0; i < 4; i += 1) await send({});
    await home.quiet();
    expect((await outcomes()).sort()).toEqual(['over-budget', 'over-budget', 'started', 'started']);
    home.world.pass(3_600_000);
    await send({});
    await home.quiet();
    expect(runs.size).toBe(3);
  });

  test('many at once keep within the purse too', async () => {
    await put({ on: onCustom(), maximumPerHour: 3 });
    await home.quiet();
    await Promise.all(Array.from({ length: 12 }, () => send({})));
    await home.quiet();
    expect(runs.size).toBe(3);
    expect(await outcomes()).toHaveLength(12);
  });
});

describe('a start that fails', () => {
  test('for good says why', async () => {
    await put({ on: onCustom() });
    trouble = new Problem('invalid', 'parameter x is missing');
    await send({});
    await home.quiet();
    expect(await firings()).toMatchObject([{ outcome: 'failed', why: 'parameter x is missing' }]);
    expect(asked).toBe(1);
  });

  test('for a while is made later, once', async () => {
    await put({ on: onCustom() });
    trouble = new Problem('unavailable', 'throttled');
    await send({});
    await home.quiet();
    expect(await outcomes()).toEqual(['starting']);
    const next = await room.tick(call);
    expect(next).toBeGreaterThan(home.world.now());
    trouble = undefined;
    home.world.pass((next ?? 0) - home.world.now());
    expect(await room.tick(call)).toBeUndefined();
    expect(await outcomes()).toEqual(['started']);
    expect(runs.size).toBe(1);
  });

  test('again and again is given up with its reason', async () => {
    await put({ on: onCustom() });
    trouble = new Problem('unavailable', 'throttled');
    await send({});
    await home.quiet();
    for (let next: number | undefined = 1; next !== undefined; ) {
      next = await room.tick(call);
      if (next !== undefined) home.world.pass(Math.max(0, next - home.world.now()));
    }
    expect(await firings()).toMatchObject([{ outcome: 'failed', why: 'throttled' }]);
    expect(asked).toBe(8);
  });
});

describe('what is due', () => {
  test('an order whose firing has expired is dropped: the clock does not come back for it for ever', async () => {
    await put({ on: onCustom() });
    trouble = new Problem('unavailable', 'throttled');
    await send({});
    await home.quiet();
    trouble = undefined;
    home.world.pass(91 * 86_400_000);
    expect(await room.tick(call)).toBeUndefined();
    expect(runs.size).toBe(0);
  });

  test('is done, but for the one thing that throws', async () => {
    for (const name of ['a', 'b', 'c'])
      await put({ on: { cron: { schedule: '0 * * * *' } } }, name);
    await home.table.commit(call, [{ put: { pk: 'R#rules', sk: 'a', broken: true } }]);
    home.world.pass(3_600_000);
    await expect(room.tick(call)).rejects.toThrow();
    expect([await outcomes('b'), await outcomes('c')]).toEqual([['started'], ['started']]);
  });
});

describe('data that arrives', () => {
  test('under the prefix fires with its path; elsewhere not', async () => {
    await put({
      on: { data: { prefix: 'drops/' } },
      start: { ...START, parameters: { p: '$.data.path' } },
    });
    await arrive('drops/1.csv', 'a');
    await arrive('other/1.csv', 'a');
    await home.quiet();
    expect(parameters()).toEqual([{ p: 'drops/1.csv' }]);
  });

  test('with the same bytes again is listed and starts nothing; with others it does', async () => {
    await put({ on: { data: { prefix: 'drops/' } } });
    for (const text of ['a', 'b', 'a']) {
      await arrive('drops/1.csv', text);
      await home.quiet();
      home.world.pass(1000);
    }
    expect(await outcomes()).toEqual(['duplicate', 'started', 'started']);
    expect(runs.size).toBe(2);
  });

  test('removed, and sent once more with the same bytes, starts nothing', async () => {
    await put({ on: { data: { prefix: 'drops/' } } });
    await arrive('drops/1.csv', 'a');
    await drops.remove(call, 'drops/1.csv');
    await arrive('drops/1.csv', 'a');
    await home.quiet();
    expect((await outcomes()).sort()).toEqual(['duplicate', 'started']);
  });

  test.each([
    ['after us', ['us', 'S3']],
    ['before us', ['S3', 'us']],
  ])('is one arrival where S3 tells of it too, %s', async (_when, order) => {
    await put({ on: { data: { prefix: 'drops/' } } });
    await home.quiet();
    let etag = 'e1';
    for (const who of order) {
      home.world.pass(1000);
      if (who === 'S3') await arriveAtS3('drops/1.csv', etag);
      else if (order[0] === 'us') ({ etag } = await arrive('drops/1.csv', 'a'));
      else
        await home.table.commit(call, [], {
          type: 'artifacts.data.arrived',
          subject: 'data/drops/1.csv',
          data: { path: 'drops/1.csv', sizeBytes: 1, etag, sha256: 'a'.repeat(64) },
        });
      await home.quiet();
    }
    expect(await outcomes()).toEqual(['duplicate', 'started']);
    home.world.pass(1000);
    await arriveAtS3('drops/1.csv', 'e2');
    await home.quiet();
    expect(runs.size).toBe(2);
  });
});

describe('debouncing', () => {
  const later = async (ms: number) => {
    home.world.pass(ms);
    const next = await room.tick(call);
    await home.quiet();
    return next;
  };

  test('a burst starts one run, for its newest event, once it is quiet', async () => {
    await put({
      on: onCustom(),
      debounceSeconds: 10,
      start: { ...START, parameters: { n: '$.data.n' } },
    });
    for (let n = 1; n <= 4; n += 1) {
      await send({ data: { n } });
      await home.quiet();
      await later(5_000);
    }
    expect(runs.size).toBe(0);
    expect(await outcomes()).toEqual(['waiting', 'folded', 'folded', 'folded']);
    await later(6_000);
    expect(parameters()).toEqual([{ n: 4 }]);
    expect(await firings()).toMatchObject([
      { outcome: 'started', why: 'quiet after 4 events' },
      { outcome: 'folded' },
      { outcome: 'folded' },
      { outcome: 'folded' },
    ]);
    await later(60_000);
    expect(runs.size).toBe(1);
  });

  test('an endless burst starts after ten times the quiet', async () => {
    await put({ on: onCustom(), debounceSeconds: 10 });
    for (let i = 0; i < 25 && runs.size === 0; i += 1) {
      await send({});
      await home.quiet();
      await later(5_000);
    }
    expect(runs.size).toBe(1);
    expect((await firings()).length).toBeGreaterThanOrEqual(19);
  });

  test('duplicates of a waiting event change nothing', async () => {
    await put({ on: onCustom(), debounceSeconds: 10 });
    await send({ subject: 'x' });
    await home.quiet();
    const { entries } = await home.table.entries(call, 'custom/x');
    for (let i = 0; i < 10; i += 1) await home.bus.publish(entries);
    await home.quiet();
    await later(11_000);
    expect(await firings()).toMatchObject([{ outcome: 'started', why: 'quiet after one event' }]);
  });

  test('a rule that is disabled or removed meanwhile starts nothing', async () => {
    await put({ on: onCustom(), debounceSeconds: 10 });
    await send({});
    await home.quiet();
    await home.ask('POST', '/api/rules/r/disable');
    expect(await later(11_000)).toBeUndefined();
    expect(runs.size).toBe(0);
    const ended = { outcome: 'failed', why: 'the rule is gone or disabled' };
    expect(await firings()).toMatchObject([ended]);
    await home.ask('POST', '/api/rules/r/enable');
    await send({});
    await home.quiet();
    await home.ask('DELETE', '/api/rules/r');
    expect(await later(11_000)).toBeUndefined();
    expect(runs.size).toBe(0);
    expect(await firings()).toMatchObject([ended, ended]);
  });

  const replaced = { outcome: 'failed', why: expect.stringContaining('the rule was replaced') };
  const held = (more = {}) => put({ on: onCustom(), debounceSeconds: 10, ...more });
  const other = { start: { ...START, parameters: { p: 'new' } } };
  test.each<[string, () => Promise<unknown>]>([
    ['replaced', () => held(other)],
    [
      'removed and made again',
      async () => {
        await home.ask('DELETE', '/api/rules/r');
        await held(other);
      },
    ],
    [
      'disabled and enabled',
      async () => {
        await home.ask('POST', '/api/rules/r/disable');
        await home.ask('POST', '/api/rules/r/enable');
      },
    ],
  ])('a rule that is %s meanwhile starts nothing that it held before', async (_how, change) => {
    await held();
    await send({});
    await home.quiet();
    await change();
    expect(await later(11_000)).toBeUndefined();
    expect([runs.size, await firings()]).toMatchObject([0, [replaced]]);
  });

  test('a rule that is replaced meanwhile begins a burst of its own', async () => {
    await held();
    await send({});
    await home.quiet();
    await held(other);
    await later(5_000);
    await send({});
    await home.quiet();
    expect(await firings()).toMatchObject([{ outcome: 'waiting' }, replaced]);
    await later(6_000);
    expect(await outcomes()).toEqual(['waiting', 'failed']); // not yet quiet for 10 s
    await later(5_000);
    expect(await firings()).toMatchObject([
      { outcome: 'started', why: 'quiet after one event' },
      replaced,
    ]);
    expect(parameters()).toEqual([{ p: 'new' }]);
  });

  test('an event heard by a rule that is replaced before it is held is heard by the new one', async () => {
    await held();
    await home.quiet();
    await send({});
    let raced = false;
    home.beforeCommit(async (event) => {
      if (raced || event !== undefined) return;
      raced = true;
      await held(other);
    });
    await home.until(async () => (await firings()).length > 0);
    await later(11_000);
    expect(parameters()).toEqual([{ p: 'new' }]);
  });

  test('two ticks at once release a burst once', async () => {
    await put({ on: onCustom(), debounceSeconds: 10 });
    await send({});
    await home.quiet();
    home.world.pass(11_000);
    await Promise.all(Array.from({ length: 5 }, () => room.tick(call)));
    expect(runs.size).toBe(1);
    expect(await outcomes()).toEqual(['started']);
  });
});

describe("users' own events", () => {
  test('the same id is the same event, also with another key', async () => {
    await put({ on: onCustom() });
    const event = { id: 'drift-7', data: { n: 1 } };
    expect((await send(event)).body).toEqual({ id: 'drift-7', repeated: false });
    expect((await send(event)).body).toEqual({ id: 'drift-7', repeated: true });
    expect((await send(event, { 'idempotency-key': 'k' })).body).toMatchObject({ id: 'drift-7' });
    await home.quiet();
    expect(runs.size).toBe(1);
    const other = await send({ id: 'drift-7', data: { n: 2 } });
    expect(other).toMatchObject({ status: 409, body: { field: 'id' } });
  });

  test('the same key is the same event; another request under it is refused', async () => {
    const key = { 'idempotency-key': 'k' };
    const first = await send({ data: { n: 1 } }, key);
    expect((await send({ data: { n: 1 } }, key)).body).toEqual(first.body);
    expect((await send({ data: { n: 2 } }, key)).status).toBe(400);
    const again = await send({ data: { n: 1 } });
    expect((again.body as { id: string }).id).not.toBe((first.body as { id: string }).id);
  });

  test.each([
    [{ type: 'registry.alias.set' }, 'type'],
    [{ type: 'artifacts.data.arrived' }, 'type'],
    [{ type: 'custom' }, 'type'],
    [{ type: 'custom.' }, 'type'],
    [{ type: 'custom.x' }, 'type'],
    [{ type: 'Custom.a.b' }, 'type'],
    [{ type: 7 }, 'type'],
    [{ id: '' }, 'id'],
    [{ id: 'a b' }, 'id'],
    [{ id: 'x'.repeat(129) }, 'id'],
    [{ subject: 'a b' }, 'subject'],
    [{ data: [] }, 'data'],
    [{ data: 'x' }, 'data'],
    [{ more: 1 }, ''],
  ])('%j is refused', async (event, field) => {
    await put({ on: { event: { type: 'custom.*' } } });
    const answered = await send(event);
    expect(answered.status).toBe(400);
    if (field) expect(answered.body).toMatchObject({ field });
    await home.quiet();
    expect(await firings()).toEqual([]);
  });

  test('too large is 413', async () => {
    expect((await send({ data: { x: 'y'.repeat(70_000) } })).status).toBe(413);
  });

  test('a subject of ours cannot be joined', async () => {
    await send({ subject: 'models/churn' });
    const { entries } = await home.table.entries(call, 'models/churn');
    expect(entries).toEqual([]);
  });
});

describe('keeping rules', () => {
  test('put, get, list, replace, delete', async () => {
    const made = await put({ on: onCustom() });
    expect(made).toMatchObject({
      status: 200,
      body: { name: 'r', enabled: true, debounceSeconds: 0 },
    });
    expect((await put({ on: onCustom() })).body).toEqual(made.body);
    await put({ on: { data: { prefix: 'x/' } } });
    expect((await home.ask('GET', '/api/rules/r')).body).toMatchObject({
      on: { data: { prefix: 'x/' } },
      next: [],
    });
    await put({ on: onCustom() }, 'q');
    expect((await home.ask('GET', '/api/rules?limit=1')).body).toMatchObject({
      rules: [{ name: 'q' }],
      nextPageToken: expect.any(String),
    });
    expect((await home.ask('DELETE', '/api/rules/r')).status).toBe(204);
    expect((await home.ask('GET', '/api/rules/r')).status).toBe(404);
    expect((await home.ask('DELETE', '/api/rules/r')).status).toBe(404);
    expect((await home.ask('POST', '/api/rules/r/enable')).status).toBe(404);
    expect((await home.ask('GET', '/api/rules/r/firings')).status).toBe(404);
  });

  test('ten puts at once make one rule', async () => {
    const all = await Promise.all(Array.from({ length: 10 }, () => put({ on: onCustom() })));
    expect(all.map(({ status }) => status)).toEqual(Array(10).fill(200));
    const { entries } = await home.table.entries(call, 'rules/r');
    expect(entries.map(({ type }) => type)).toEqual(['triggers.rule.set']);
  });

  test('rules beyond what one page of the table holds are counted as well', async () => {
    const start = { ...START, parameters: { p: 'x'.repeat(60_000) } };
    await Promise.all(
      Array.from({ length: 200 }, (_, i) => put({ on: onCustom(), start }, `r${i}`)),
    );
    expect(await put({ on: onCustom() }, 'more')).toMatchObject({
      status: 429,
      body: { detail: expect.stringContaining('at most 200 rules') },
    });
    expect((await put({ on: onCustom() }, 'r7')).status).toBe(200);
  });

  const gate = { model: 'm', metric: 'wape', direction: 'lower' };
  test.each([
    [{}, 'on'],
    [{ on: {} }, 'on'],
    [{ on: { ...onCustom(), data: { prefix: '' } } }, 'on'],
    [{ on: { event: {} } }, 'on.event.type'],
    [{ on: { event: { type: 'Bad Type' } } }, 'on.event.type'],
    [{ on: { event: { type: '*' } } }, 'on.event.type'],
    [{ on: { event: { type: 'triggers.rule.fired' } } }, 'on.event.type'],
    [{ on: { event: { type: 'triggers.*' } } }, 'on.event.type'],
    [{ on: onCustom({ match: { 'data.x': 1 } }) }, 'on.event.match.data.x'],
    [{ on: { cron: { schedule: 'often' } } }, 'on.cron.schedule'],
    [{ on: { cron: { schedule: '* * * * * *' } } }, 'on.cron.schedule'],
    [{ on: { cron: { schedule: '*/5 * * * * *' } } }, 'on.cron.schedule'],
    [{ on: { cron: { schedule: '0 0 31 2 *' } } }, 'on.cron.schedule'],
    [{ on: { cron: { schedule: '0 0 0 0 0' } } }, 'on.cron.schedule'],
    [{ on: { cron: { schedule: '@daily' } } }, 'on.cron.schedule'],
    [{ on: { cron: { schedule: '0 0 * * *', timeZone: 'Mars/X' } } }, 'on.cron.timeZone'],
    [{ on: onCustom(), start: {} }, 'start.pipeline'],
    [{ on: onCustom(), start: { pipeline: 'none' } }, 'start.pipeline'],
    [{ on: onCustom(), start: { ...START, machine: 'deploy-endpoint' } }, 'start.machine'],
    [{ on: onCustom(), start: { ...START, machine: 'retraining' } }, 'start.gate'],
    [{ on: onCustom(), start: { ...START, gate } }, 'start.gate'],
    [
      {
        on: onCustom(),
        start: { ...START, machine: 'retraining', gate: { ...gate, direction: 'up' } },
      },
      'start.gate.direction',
    ],
    [{ on: onCustom(), debounceSeconds: -1 }, 'debounceSeconds'],
    [{ on: onCustom(), maximumPerHour: 0 }, 'maximumPerHour'],
    [{ on: onCustom(), enabled: 'yes' }, 'enabled'],
    [{ on: onCustom(), wrong: 1 }, ''],
  ])('%j is refused', async (rule, field) => {
    const answered = await put(rule);
    expect(answered.status).toBe(400);
    if (field) expect(answered.body).toMatchObject({ field });
    expect((await home.ask('GET', '/api/rules')).body).toEqual({ rules: [] });
  });

  test.each(BAD_PATHS)('no rule is named $path', async ({ path }) => {
    const answered = await put({ on: onCustom() }, encodeURIComponent(path));
    expect([400, 404]).toContain(answered.status);
    expect((await home.ask('GET', '/api/rules')).body).toEqual({ rules: [] });
  });

  test('firings are paged, newest first, each once', async () => {
    await put({ on: onCustom() });
    for (let i = 0; i < 7; i += 1) await send({ id: `e${i}` });
    await home.quiet();
    const ids: string[] = [];
    let token: string | undefined;
    do {
      const query = token === undefined ? '' : `&pageToken=${token}`;
      const { body } = await home.ask('GET', `/api/rules/r/firings?limit=3${query}`);
      const page = body as { firings: Firing[]; nextPageToken?: string };
      ids.push(...page.firings.map(({ id }) => id));
      token = page.nextPageToken;
    } while (token !== undefined);
    expect(ids).toHaveLength(7);
    expect(ids).toEqual([...new Set(ids)].sort().reverse());
    const other = await home.ask('GET', '/api/rules?pageToken=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA');
    expect(other.status).toBe(400);
  });
});

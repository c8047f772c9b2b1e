import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type {
  EndpointSpec,
  EndpointStatus,
  Endpoints,
  InferenceAnswer,
} from '../../functions/platform/ports.ts';
import { until } from '../jobs/until.ts';

/** A host under test whose model server is test/jobs/model.ts. */
export interface EndpointsWorld {
  readonly endpoints: Endpoints;
  readonly call: Call;
  readonly stranger: Call;
  uri(prefix: string): string;
  /** Where this machine's processes see what `uri` names. */
  folder(prefix: string): string;
  put(path: string, text: string): Promise<void>;
  read(path: string): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Cases that an adapter may skip, with its reason. */
export type EndpointSkips = Partial<Record<'logs' | 'scale' | 'drain', string>>;

/** What every `Endpoints` promises. */
export function endpointsContract(
  on: string,
  open: () => Promise<EndpointsWorld>,
  skips: EndpointSkips = {},
): void {
  describe(`endpoints on ${on}`, () => {
    let world: EndpointsWorld;
    beforeEach(async () => {
      world = await open();
    });
    afterEach(() => world.close());

    const spec = (revision: string, more: Partial<EndpointSpec> = {}): EndpointSpec => ({
      name: 'churn',
      revision,
      modelUri: world.uri(`models/${revision}`),
      env: {},
      scale: { minimum: 1, maximum: 1, concurrency: 50, idleSeconds: 300 },
      ...more,
    });
    const put = (revision: string, model: object = {}) =>
      world.put(`models/${revision}/model.json`, JSON.stringify({ name: revision, ...model }));
    const reach = (what: string, holds: (status: EndpointStatus) => boolean) =>
      until(what, async () => {
        const status = await world.endpoints.describe(world.call, 'churn');
        return status && holds(status) ? status : undefined;
      });
    const serving = (revision: string) =>
      reach(
        `${revision} in service`,
        (status) => status.state === 'in-service' && status.revision === revision,
      );
    const ask = (body: string, call = world.call) =>
      world.endpoints.invoke(call, 'churn', {
        path: '/invocations',
        contentType: 'text/csv',
        body: Buffer.from(body),
      });
    const text = async (answer: InferenceAnswer) =>
      await new Response(answer.body as BodyInit).text();
    const said = async (body: string) =>
      JSON.parse(await text(await ask(body))) as {
        name: string;
        type: string;
        body: string;
        pid: number;
      };
    const starts = async (revision: string) =>
      ((await world.read(`models/${revision}/starts`)) ?? '').split('\n').filter(Boolean).length;

    test('a deployed model answers with its own bytes, type and status', async () => {
      await put('v1');
      await world.endpoints.deploy(world.call, spec('v1'));
      const status = await serving('v1');
      expect(status).toMatchObject({ name: 'churn', target: 'v1', copies: 1 });
      expect(status.failure).toBeUndefined();
      expect(await said('a,b\n1,2')).toMatchObject({
        name: 'v1',
        type: 'text/csv',
        body: 'a,b\n1,2',
      });
      const bad = await ask('bad');
      expect([bad.status, bad.contentType, await text(bad)]).toEqual([
        400,
        'application/json',
        '{"error_code":"BAD_REQUEST","message":"bad"}',
      ]);
    });

    test('each answer says which revision gave it, while one takes over from another too', async () => {
      await put('v1');
      await put('v2');
      await world.endpoints.deploy(world.call, spec('v1'));
      await serving('v1');
      await world.endpoints.deploy(world.call, spec('v2'));
      const last = await until('an answer of v2', async () => {
        const answer = await ask('x');
        const { name } = JSON.parse(await text(answer)) as { name: string };
        expect(answer.revision).toBe(name);
        return name === 'v2' ? answer.revision : undefined;
      });
      expect(last).toBe('v2');
    });

    test('deploy is idempotent by name and revision', async () => {
      await put('v1');
      await Promise.all([1, 2, 3].map(() => world.endpoints.deploy(world.call, spec('v1'))));
      await serving('v1');
      await world.endpoints.deploy(world.call, spec('v1'));
      await said('x');
      expect(await starts('v1')).toBe(1);
    });

    test('requests that come while it starts are answered, by one start', async () => {
      const gate = join(world.folder('models/v1'), 'go');
      await put('v1', { until: gate });
      await world.endpoints.deploy(world.call, spec('v1'));
      const held = Array.from({ length: 30 }, (_, i) => said(String(i)));
      await until('the start', async () => ((await starts('v1')) > 0 ? true : undefined));
      expect(await world.endpoints.describe(world.call, 'churn')).toMatchObject({
        state: 'creating',
      });
      await world.put('models/v1/go', '');
      expect((await Promise.all(held)).map(({ body }) => Number(body))).toEqual(
        Array.from({ length: 30 }, (_, i) => i),
      );
      expect(await starts('v1')).toBe(1);
    });

    test('a request that may not wait so long is told when to come again', async () => {
      await put('v1', { until: join(world.folder('models/v1'), 'never') });
      await world.endpoints.deploy(world.call, spec('v1'));
      const soon = { ...world.call, deadline: Date.now() + 100 };
      const error = await ask('x', soon).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(Problem);
      expect(error).toMatchObject({ code: 'unavailable' });
      expect((error as Problem).retryAfterSeconds).toBeGreaterThan(0);
    });

    test.skipIf(skips.drain !== undefined)(
      'an update drops no request, not even one that is being answered',
      async () => {
        await put('v1');
        await put('v2');
        await world.endpoints.deploy(world.call, spec('v1'));
        await serving('v1');
        const slow = ask(`wait:${join(world.folder('models/v1'), 'done')}`);
        const names: string[] = [];
        let asking = true;
        const clients = [1, 2, 3, 4].map(async () => {
          while (asking) names.push((await said('x')).name);
        });
        await world.endpoints.deploy(world.call, spec('v2'));
        await serving('v2');
        await until('an answer of v2', () => names.includes('v2') || undefined);
        await world.put('models/v1/done', '');
        expect(await text(await slow)).toBe('v1');
        asking = false;
        await Promise.all(clients);
        expect(names[0]).toBe('v1');
        expect(names.lastIndexOf('v1')).toBeLessThan(names.indexOf('v2') + 5);
      },
    );

    test('a model that cannot be loaded leaves the old one in service and says why', async () => {
      await put('v1');
      await put('v2', { broken: true });
      await world.endpoints.deploy(world.call, spec('v1'));
      await serving('v1');
      await world.endpoints.deploy(world.call, spec('v2'));
      const status = await reach('the failure', ({ failure }) => failure !== undefined);
      expect(status).toMatchObject({ revision: 'v1', target: 'v2', state: 'in-service' });
      expect(status.failure).toContain('cannot load: no such estimator');
      expect(await said('x')).toMatchObject({ name: 'v1' });
      await put('v3');
      await world.endpoints.deploy(world.call, spec('v3'));
      await serving('v3');
      expect((await world.endpoints.describe(world.call, 'churn'))?.failure).toBeUndefined();
    });

    test('a first model that cannot be loaded fails the endpoint; the same revision may be tried again', async () => {
      await put('v1', { broken: true });
      await world.endpoints.deploy(world.call, spec('v1'));
      const status = await reach('the failure', ({ state }) => state === 'failed');
      expect(status).toMatchObject({ revision: undefined, target: 'v1', copies: 0 });
      expect(status.failure).toContain('cannot load');
      await expect(ask('x')).rejects.toMatchObject({ code: 'unavailable' });
      await put('v1');
      await world.endpoints.deploy(world.call, spec('v1'));
      await serving('v1');
    });

    test('the newest deploy wins, whatever came in between', async () => {
      for (const revision of ['v1', 'v2', 'v3']) await put(revision);
      for (const revision of ['v1', 'v2', 'v3', 'v1', 'v3'])
        await world.endpoints.deploy(world.call, spec(revision));
      await serving('v3');
      expect(await said('x')).toMatchObject({ name: 'v3' });
    });

    test.skipIf(skips.scale !== undefined)(
      'nobody asks: it stops; somebody asks: one start, however many ask',
      async () => {
        await put('v1');
        const scale = { minimum: 0, maximum: 1, concurrency: 50, idleSeconds: 1 };
        await world.endpoints.deploy(world.call, spec('v1', { scale }));
        await reach('it to stop', ({ state, copies }) => state === 'stopped' && copies === 0);
        expect(await starts('v1')).toBe(1);
        const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => said(String(i))));
        expect(new Set(answers.map(({ pid }) => pid)).size).toBe(1);
        expect(await starts('v1')).toBe(2);
      },
    );

    test.skipIf(skips.scale !== undefined)(
      'a server that ends is started again and requests are held meanwhile',
      async () => {
        await put('v1');
        await world.endpoints.deploy(world.call, spec('v1'));
        await serving('v1');
        const before = await said('x');
        await expect(ask('crash')).rejects.toMatchObject({ code: 'unavailable' });
        expect((await said('y')).pid).not.toBe(before.pid);
      },
    );

    test.skipIf(skips.scale !== undefined)(
      'the minimum is there again after a copy has died',
      async () => {
        await put('v1');
        const scale = { minimum: 2, maximum: 3, concurrency: 5, idleSeconds: 300 };
        await world.endpoints.deploy(world.call, spec('v1', { scale }));
        await reach('two copies', ({ copies }) => copies === 2);
        for (let i = 0; i < 2; i++) await ask('crash').catch(() => {});
        await reach('a copy to be lost or replaced', ({ copies }) => copies <= 2);
        await until('two more starts', async () => ((await starts('v1')) >= 4 ? true : undefined));
        await reach('two copies again', ({ copies }) => copies === 2);
      },
    );

    test.skipIf(skips.scale !== undefined)('a full copy is joined by another', async () => {
      await put('v1');
      const scale = { minimum: 1, maximum: 2, concurrency: 1, idleSeconds: 300 };
      await world.endpoints.deploy(world.call, spec('v1', { scale }));
      await serving('v1');
      const gate = join(world.folder('models/v1'), 'done');
      const busy = [ask(`wait:${gate}`), ask(`wait:${gate}`)];
      await reach('two copies', ({ copies }) => copies === 2);
      await world.put('models/v1/done', '');
      await Promise.all((await Promise.all(busy)).map(text));
      expect(await starts('v1')).toBe(2);
    });

    test('removed is removed, and may be asked twice', async () => {
      await put('v1');
      await world.endpoints.deploy(world.call, spec('v1'));
      await serving('v1');
      await world.endpoints.remove(world.call, 'churn');
      await world.endpoints.remove(world.call, 'churn');
      await until('it to be gone', async () =>
        (await world.endpoints.describe(world.call, 'churn')) === undefined ? true : undefined,
      );
      await expect(ask('x')).rejects.toMatchObject({ code: 'missing' });
    });

    test('a removal that comes late leaves alone what was made again under the name', async () => {
      await put('v1');
      await put('v2');
      await world.endpoints.deploy(world.call, spec('v2'));
      await serving('v2');
      await world.endpoints.remove(world.call, 'churn', 'v1');
      expect((await said('x')).name).toBe('v2');
      await world.endpoints.remove(world.call, 'churn', 'v2');
      await until('it to be gone', async () =>
        (await world.endpoints.describe(world.call, 'churn')) === undefined ? true : undefined,
      );
    });

    test('a workspace does not reach another one’s endpoint', async () => {
      await put('v1');
      await world.endpoints.deploy(world.call, spec('v1'));
      await serving('v1');
      await expect(ask('x', world.stranger)).rejects.toMatchObject({ code: 'missing' });
      expect(await world.endpoints.describe(world.stranger, 'churn')).toBeUndefined();
      await world.endpoints.remove(world.stranger, 'churn');
      await said('x');
    });

    test.skipIf(skips.logs !== undefined)(
      'its log can be read, from where one left off',
      async () => {
        await put('v1');
        await world.endpoints.deploy(world.call, spec('v1'));
        await serving('v1');
        const first = await world.endpoints.logs(world.call, 'churn');
        expect(first.lines).toEqual(['loading v1']);
        const then = await world.endpoints.logs(world.call, 'churn', first.next);
        expect(then).toEqual({ lines: [], next: first.next });
      },
    );

    const scale = { minimum: 1, maximum: 1, concurrency: 1, idleSeconds: 1 };
    const bad: [string, Partial<EndpointSpec>, string][] = [
      ['a name with a path in it', { name: '../x' }, 'name'],
      ['a name that is too long', { name: 'x'.repeat(55) }, 'name'],
      ['a folder of somebody else', { modelUri: '/etc' }, 'modelUri'],
      ['a minimum above the maximum', { scale: { ...scale, minimum: 2 } }, 'scale'],
      ['no copies at all', { scale: { ...scale, minimum: 0, maximum: 0 } }, 'scale.maximum'],
      ['a variable that is none', { env: { 'A=B': '1' } }, 'env.A=B'],
    ];
    test.each(bad)('%s is refused and leaves nothing', async (_, more, field) => {
      const error = await world.endpoints
        .deploy(world.call, spec('v1', more))
        .catch((cause: unknown) => cause);
      expect(error).toMatchObject({ code: 'invalid', field });
      expect(await world.endpoints.describe(world.call, 'churn')).toBeUndefined();
    });

    test('another path than a model server has is refused', async () => {
      await put('v1');
      await world.endpoints.deploy(world.call, spec('v1'));
      const request = { path: '/../admin', contentType: 'text/csv', body: Buffer.from('x') };
      await expect(world.endpoints.invoke(world.call, 'churn', request)).rejects.toMatchObject({
        code: 'invalid',
      });
    });
  });
}

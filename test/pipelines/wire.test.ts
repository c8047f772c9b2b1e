import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readDocument } from '../../functions/pipelines/document.ts';
import { call } from '../house.ts';
import { type Answer, type PipelineRig, pipelineRig } from './rig.ts';

const text = readFileSync(join(import.meta.dirname, '../golden/diamond.yaml'), 'utf8');
const diamond = readDocument(text).pipeline as Answer;
const base = '/apis/v2beta1';
const ghost = '99999999-9999-4999-8999-999999999999';

let rig: PipelineRig;
beforeAll(() => {
  rig = pipelineRig(() => ({ parameters: { Output: 1 } }), {
    ends: afterAll,
    runsImage: (image) =>
      image === 'private/image'
        ? { refused: "image 'private/image' needs a container engine" }
        : { ok: true, ...(image?.startsWith('alpine') ? { warning: 'not pulled' } : {}) },
  });
});

const upload = (path: string, file: string | Uint8Array<ArrayBuffer>, name = 'p.yaml') => {
  const form = new FormData();
  form.append('uploadfile', new Blob([file]), name);
  return rig.request(`${base}${path}`, { method: 'POST', body: form });
};
const uploaded = async (path: string, file = text): Promise<Answer> => {
  const answer = await upload(path, file);
  expect(answer.status).toBe(200);
  return answer.json();
};

describe('bad input is answered in google.rpc.Status, and changes nothing', () => {
  const run = (more: object) => ({
    display_name: 'x',
    pipeline_spec: diamond,
    runtime_config: { parameters: { n: 1 } },
    ...more,
  });
  const image = (name: string) => {
    const spec = structuredClone(diamond);
    spec.deploymentSpec.executors['exec-add'].container.image = name;
    return spec;
  };
  test.each<[string, string, string, unknown, number, number, string]>([
    [
      'no name',
      'POST',
      '/runs',
      run({ display_name: '' }),
      400,
      3,
      'display_name: must not be empty',
    ],
    [
      'no source',
      'POST',
      '/runs',
      { display_name: 'x' },
      400,
      3,
      'pipeline_spec or pipeline_version_reference is required',
    ],
    [
      'both sources',
      'POST',
      '/runs',
      run({ pipeline_version_reference: { pipeline_id: ghost } }),
      400,
      3,
      'not both',
    ],
    ['an unknown field', 'POST', '/runs', run({ displayNames: 'x' }), 400, 3, 'displayNames'],
    [
      'a missing parameter',
      'POST',
      '/runs',
      run({ runtime_config: {} }),
      400,
      3,
      "parameter 'n' is required and was not given",
    ],
    [
      'an unknown parameter',
      'POST',
      '/runs',
      run({ runtime_config: { parameters: { n: 1, m: 2 } } }),
      400,
      3,
      "parameter 'm' is not an input of pipeline 'diamond' (it has: n)",
    ],
    [
      'a parameter of another type',
      'POST',
      '/runs',
      run({ runtime_config: { parameters: { n: 1.5 } } }),
      400,
      3,
      "parameter 'n' must be an integer within 2^53, not 1.5",
    ],
    [
      'an integer beyond 2^53',
      'POST',
      '/runs',
      run({ runtime_config: { parameters: { n: 2n ** 60n } } }),
      400,
      3,
      "parameter 'n' must be an integer within 2^53",
    ],
    [
      'a root elsewhere',
      'POST',
      '/runs',
      run({ runtime_config: { parameters: { n: 1 }, pipeline_root: '/etc' } }),
      400,
      3,
      'pipeline_root must lie below ',
    ],
    [
      'an image that nothing runs',
      'POST',
      '/runs',
      run({ pipeline_spec: image('private/image') }),
      400,
      3,
      "task 'add': image 'private/image' needs a container engine",
    ],
    [
      'an unknown experiment',
      'POST',
      '/runs',
      run({ experiment_id: ghost }),
      404,
      5,
      `Experiment ${ghost} not found.`,
    ],
    [
      'an unknown pipeline',
      'POST',
      '/runs',
      { display_name: 'x', pipeline_version_reference: { pipeline_id: ghost } },
      404,
      5,
      'not found',
    ],
    [
      'an unknown version',
      'POST',
      '/runs',
      { display_name: 'x', pipeline_version_reference: { pipeline_version_id: ghost } },
      404,
      5,
      'not found',
    ],
    ['an unknown run', 'GET', `/runs/${ghost}`, undefined, 404, 5, `Run ${ghost} not found.`],
    ['an id that is none of ours', 'GET', '/runs/abc', undefined, 404, 5, 'Run abc not found.'],
    ['an id like a path', 'GET', '/runs/..%2fetc', undefined, 400, 3, 'run_id: must be an id'],
    ['terminate of an unknown run', 'POST', `/runs/${ghost}:terminate`, {}, 404, 5, 'not found'],
    ['retry of an unknown run', 'POST', `/runs/${ghost}:retry`, {}, 404, 5, 'not found'],
    ['delete of an unknown run', 'DELETE', `/runs/${ghost}`, undefined, 404, 5, 'not found'],
    ['archive of an unknown run', 'POST', `/runs/${ghost}:archive`, {}, 404, 5, 'not found'],
    ['unarchive of an unknown run', 'POST', `/runs/${ghost}:unarchive`, {}, 404, 5, 'not found'],
    ['an experiment without a name', 'POST', '/experiments', {}, 400, 3, 'display_name'],
    [
      'an experiment with too long a name',
      'POST',
      '/experiments',
      { display_name: 'x'.repeat(129) },
      400,
      3,
      'at most 128',
    ],
    [
      'a second Default',
      'POST',
      '/experiments',
      { display_name: 'Default' },
      409,
      6,
      'already exists',
    ],
    [
      'delete of the Default experiment',
      'DELETE',
      '/experiments/00000000-0000-4000-8000-000000000000',
      undefined,
      400,
      9,
      'cannot be deleted',
    ],
    ['an unknown pipeline id', 'GET', `/pipelines/${ghost}`, undefined, 404, 5, 'not found'],
    [
      'an unknown pipeline name',
      'GET',
      '/pipelines/names/nobody',
      undefined,
      404,
      5,
      "Pipeline 'nobody' not found.",
    ],
    [
      'a change of an unknown pipeline',
      'PATCH',
      `/pipelines/${ghost}`,
      { description: 'x' },
      404,
      5,
      'not found',
    ],
    [
      'versions of an unknown pipeline',
      'GET',
      `/pipelines/${ghost}/versions`,
      undefined,
      404,
      5,
      'not found',
    ],
    [
      'a tag with a dot',
      'POST',
      '/pipelines',
      { name: 'x', tags: { 'a.b': 'c' } },
      400,
      3,
      'must not hold a dot',
    ],
    [
      'a negative page',
      'GET',
      '/runs?page_size=-1',
      undefined,
      400,
      3,
      'page_size: must not be negative',
    ],
    [
      'an unknown sort field',
      'GET',
      '/runs?sort_by=colour',
      undefined,
      400,
      3,
      "sort_by: 'colour' is not one of",
    ],
    [
      'too many sort words',
      'GET',
      '/runs?sort_by=name%20asc%20please',
      undefined,
      400,
      3,
      'sort_by: must be a field',
    ],
    ['a filter that is no JSON', 'GET', '/runs?filter=x', undefined, 400, 3, 'filter: is not JSON'],
    [
      'an edited page token',
      'GET',
      '/runs?page_token=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
      undefined,
      400,
      3,
      'Invalid page token',
    ],
  ])('%s', async (_what, method, path, body, status, code, message) => {
    const count = async () => (await rig.ask('GET', `${base}/runs`)).body.total_size ?? 0;
    const before = await count();
    const sent = JSON.stringify(body, (_key, value) =>
      typeof value === 'bigint' ? (JSON as Answer).rawJSON(String(value)) : value,
    );
    const answer = await rig.request(`${base}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: sent, headers: { 'Content-Type': 'application/json' } }),
    });
    const read: Answer = await answer.json();
    expect([answer.status, read.code]).toEqual([status, code]);
    expect(read.error).toContain(message);
    expect(read).toMatchObject({ message: read.error, details: [{ code }] });
    expect(await count()).toBe(before);
  });

  test('what this version does not serve is absent, not pretended', async () => {
    for (const path of ['/recurringruns', '/tasks', '/artifacts', '/filters'])
      expect((await rig.request(`${base}${path}`)).status).toBe(404);
  });
});

describe('uploads', () => {
  test('take a name from the query, else the display name, else the file', async () => {
    expect(await uploaded('/pipelines/upload?name=by-query&description=d')).toMatchObject({
      name: 'by-query',
      description: 'd',
    });
    expect(await uploaded('/pipelines/upload?display_name=by%20display')).toMatchObject({
      name: 'by display',
      display_name: 'by display',
    });
    expect(
      await (await upload('/pipelines/upload', text, '../../etc/by-file.yaml')).json(),
    ).toMatchObject({ name: 'by-file.yaml' });
  });

  test('make versions of one pipeline, whose spec comes back as it went in', async () => {
    const { pipeline_id: id } = await uploaded('/pipelines/upload?name=versions');
    const second = await uploaded(
      `/pipelines/upload_version?pipelineid=${id}&name=v2&tags=%7B%22a%22%3A%22b%22%7D`,
    );
    expect(second).toMatchObject({ pipeline_id: id, name: 'v2', tags: { a: 'b' } });
    expect(second.pipeline_spec).toEqual(diamond);
    const list = (
      await rig.ask('GET', `${base}/pipelines/${id}/versions?sort_by=created_at%20desc`)
    ).body;
    expect(list.total_size).toBe(2);
    expect((await upload(`/pipelines/upload_version?pipelineid=${id}&name=v2`, text)).status).toBe(
      409,
    );
    expect((await upload(`/pipelines/upload_version?pipelineid=${ghost}`, text)).status).toBe(404);
    const other = (await uploaded('/pipelines/upload?name=other')).pipeline_id;
    const crossed = await rig.ask('POST', `${base}/runs`, {
      display_name: 'x',
      pipeline_version_reference: {
        pipeline_id: other,
        pipeline_version_id: second.pipeline_version_id,
      },
    });
    expect(crossed).toMatchObject({ status: 400, body: { code: 3 } });
    expect((await rig.ask('DELETE', `${base}/pipelines/${id}`)).status).toBe(400);
    expect((await rig.ask('DELETE', `${base}/pipelines/${id}?cascade=true`)).status).toBe(200);
    expect((await rig.ask('GET', `${base}/pipelines/${id}`)).status).toBe(404);
    // Its machine is the same as that of 'other', whose runs still start.
    const run = await rig.ask('POST', `${base}/runs`, {
      display_name: 'newest version',
      pipeline_version_reference: { pipeline_id: other },
      runtime_config: { parameters: { n: 1 } },
    });
    expect((await rig.ended(run.body.run_id)).state).toBe('SUCCEEDED');
    await rig.ask('DELETE', `${base}/runs/${run.body.run_id}`);
  });

  test('refuse what is not a pipeline, and leave no pipeline behind', async () => {
    for (const [file, status] of [
      ['', 400],
      ['just text', 400],
      ['a: [', 400],
      ['{"a": 1}', 400],
      ['apiVersion: argoproj.io/v1alpha1\nkind: Workflow', 400],
      [new Uint8Array([0x50, 0x4b, 3, 4, 9]), 400],
      [new Uint8Array([0x1f, 0x8b, 8, 0, 9]), 400],
      [new Uint8Array([0xff, 0xfe, 0]), 400],
    ] as const) {
      const answer = await upload('/pipelines/upload?name=refused', file);
      expect([file, answer.status]).toEqual([file, status]);
      expect(((await answer.json()) as Answer).code).toBe(3);
    }
    expect((await rig.ask('GET', `${base}/pipelines/names/refused`)).status).toBe(404);
    const plain = await rig.request(`${base}/pipelines/upload?name=x`, {
      method: 'POST',
      body: text,
    });
    expect(plain.status).toBe(415);
  });

  test('two at once under one name are one', async () => {
    const both = await Promise.all([1, 2].map(() => upload('/pipelines/upload?name=race', text)));
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
  });

  test('change by PATCH what may be changed', async () => {
    const { pipeline_id: id } = await uploaded('/pipelines/upload?name=patched');
    const patch = { display_name: 'New', description: 'why', tags: { team: 'a' } };
    expect((await rig.ask('PATCH', `${base}/pipelines/${id}`, patch)).body).toMatchObject({
      name: 'patched',
      ...patch,
    });
    const filter = JSON.stringify({
      predicates: [{ key: 'tags.team', operation: 'EQUALS', string_value: 'a' }],
    });
    const found = await rig.ask('GET', `${base}/pipelines?filter=${encodeURIComponent(filter)}`);
    expect(found.body.pipelines.map((each: Answer) => each.pipeline_id)).toEqual([id]);
  });
});

describe('lists', () => {
  beforeAll(async () => {
    for (const name of ['alpha', 'beta', 'gamma', 'delta', 'epsilon']) {
      rig.world.pass(1000);
      await rig.ask('POST', `${base}/experiments`, {
        display_name: name,
        description: `${name}!`,
      });
    }
  });
  const names = async (query: Record<string, string | number | object>) => {
    const text = new URLSearchParams(
      Object.entries(query).map(([key, value]) => [
        key,
        typeof value === 'object' ? JSON.stringify(value) : String(value),
      ]),
    );
    const { status, body } = await rig.ask('GET', `${base}/experiments?${text}`);
    expect(body.error).toBeUndefined();
    expect(status).toBe(200);
    return { ...body, names: (body.experiments ?? []).map((each: Answer) => each.display_name) };
  };
  const where = (operation: string | number, value: object, key = 'display_name') => ({
    filter: { predicates: [{ operation, key, ...value }] },
  });

  test('start with Default, oldest first, and name the total', async () => {
    const all = await names({});
    expect(all.names).toEqual(['Default', 'alpha', 'beta', 'gamma', 'delta', 'epsilon']);
    expect(all.total_size).toBe(6);
    expect(all.next_page_token).toBeUndefined();
  });

  test.each<[string, object, string[]]>([
    ['a name by word', where('EQUALS', { string_value: 'beta' }), ['beta']],
    ['a name by number, as the client sends it', where(1, { stringValue: 'beta' }), ['beta']],
    ['the old key', where('EQUALS', { string_value: 'beta' }, 'name'), ['beta']],
    [
      'another name',
      where('NOT_EQUALS', { string_value: 'beta' }),
      ['Default', 'alpha', 'gamma', 'delta', 'epsilon'],
    ],
    ['a part', where(9, { string_value: 'LTA' }), ['delta']],
    [
      'a set',
      where('IN', { string_values: { values: ['alpha', 'delta', 'x'] } }),
      ['alpha', 'delta'],
    ],
    [
      'later',
      where('GREATER_THAN', { timestamp_value: '2026-11-24T00:00:04.500Z' }, 'created_at'),
      ['epsilon'],
    ],
    [
      'not later',
      where(7, { timestamp_value: '2026-11-24T00:00:01.500Z' }, 'created_at'),
      ['Default', 'alpha'],
    ],
    [
      'both',
      {
        filter: {
          predicates: [
            ...where('IS_SUBSTRING', { string_value: 'e' }).filter.predicates,
            ...where('IS_SUBSTRING', { string_value: 'ta' }).filter.predicates,
          ],
        },
      },
      ['beta', 'delta'],
    ],
    [
      'descending names',
      { sort_by: 'name desc' },
      ['gamma', 'epsilon', 'delta', 'beta', 'alpha', 'Default'],
    ],
  ])('find %s', async (_what, query, expected) => {
    rig.world.pass(0);
    expect((await names(query as Record<string, object>)).names).toEqual(expected);
  });

  test('find what is URL-encoded once more', async () => {
    const once = JSON.stringify(where(1, { string_value: 'beta' }).filter);
    expect((await names({ filter: encodeURIComponent(once) })).names).toEqual(['beta']);
  });

  test('meet each record once from page to page, and a token is bound to its query', async () => {
    const seen: string[] = [];
    let token = '';
    do {
      const page: Answer = await names({
        page_size: 2,
        sort_by: 'name',
        ...(token ? { page_token: token } : {}),
      });
      seen.push(...page.names);
      token = page.next_page_token ?? '';
    } while (token);
    expect(seen).toEqual(['Default', 'alpha', 'beta', 'delta', 'epsilon', 'gamma']);
    const first = await names({ page_size: 2, sort_by: 'name' });
    const alone = await names({ page_size: 2, page_token: first.next_page_token });
    expect(alone.names).toEqual(['beta', 'delta']);
    for (const other of ['sort_by=created_at', 'filter=%7B%22predicates%22%3A%5B%5D%7D']) {
      const answer = await rig.ask(
        'GET',
        `${base}/experiments?page_token=${first.next_page_token}&${other}`,
      );
      expect([other, answer.status]).toEqual([other, 400]);
    }
    const elsewhere = await rig.ask('GET', `${base}/pipelines?page_token=${first.next_page_token}`);
    expect(elsewhere.status).toBe(400);
  });
});

describe('experiments and runs', () => {
  test('archiving an experiment archives its runs, and they come back one by one', async () => {
    const made = await rig.ask('POST', `${base}/experiments`, { display_name: 'shelf' });
    const id = made.body.experiment_id;
    const run = await rig.ask('POST', `${base}/runs`, {
      display_name: 'r',
      experiment_id: id,
      pipeline_spec: { pipeline_spec: diamond, platform_spec: {} },
      runtime_config: { parameters: { n: 1 } },
    });
    const runId = run.body.run_id;
    await rig.ended(runId);
    expect((await rig.ask('GET', `${base}/experiments/${id}`)).body.last_run_created_at).toBeTypeOf(
      'string',
    );
    const list = await rig.ask('GET', `${base}/runs?experiment_id=${id}`);
    expect(list.body.runs.map((each: Answer) => each.run_id)).toEqual([runId]);
    await rig.ask('POST', `${base}/experiments/${id}:archive`, {});
    const state = async () => (await rig.ask('GET', `${base}/runs/${runId}`)).body.storage_state;
    expect(await state()).toBe('ARCHIVED');
    expect((await rig.ask('POST', `${base}/runs/${runId}:unarchive`, {})).status).toBe(400);
    const refused = await rig.ask('POST', `${base}/runs`, {
      display_name: 'r',
      experiment_id: id,
      pipeline_spec: diamond,
      runtime_config: { parameters: { n: 1 } },
    });
    expect(refused).toMatchObject({ status: 400, body: { code: 9 } });
    await rig.ask('POST', `${base}/experiments/${id}:unarchive`, {});
    expect(await state()).toBe('ARCHIVED');
    await rig.ask('POST', `${base}/runs/${runId}:unarchive`, {});
    expect(await state()).toBe('AVAILABLE');
    expect((await rig.ask('DELETE', `${base}/runs/${runId}`)).status).toBe(200);
    expect((await rig.ask('GET', `${base}/runs/${runId}`)).status).toBe(404);
    const left = await rig.table.query(call, { pk: `KFP#run#${runId}` });
    expect(left.items).toEqual([]);
    expect((await rig.ask('DELETE', `${base}/experiments/${id}`)).status).toBe(200);
  });

  test('camelCase is read as well, and what an image did not get is said', async () => {
    const spec = structuredClone(diamond);
    spec.deploymentSpec.executors['exec-add'].container.image = 'alpine:3.20';
    const made = await rig.ask('POST', `${base}/runs`, {
      displayName: 'camel',
      pipelineSpec: spec,
      runtimeConfig: { parameters: { n: 2 } },
    });
    expect(made.status).toBe(200);
    expect(made.body.warnings).toEqual(["task 'add': not pulled"]);
    await rig.ended(made.body.run_id);
  });
});

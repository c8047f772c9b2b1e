import { describe, expect, test } from 'vitest';
import { call } from '../house.ts';
import { openMlflow } from '../mlflow.ts';

const UPLOAD = '/ajax-api/2.0/mlflow/upload-artifact';

describe('the artifacts of a run', () => {
  test.each(['proxy', 'direct'] as const)(
    'item 22: lists are relative to the run’s root (%s)',
    async (artifacts) => {
      const house = openMlflow({ artifacts });
      const run = await house.run();
      for (const path of ['model/MLmodel', 'model/data/x', 'a.txt']) {
        const put = await house.ask(
          'POST',
          `${UPLOAD}?run_uuid=${run.id}&path=${path}`,
          Buffer.from(path),
        );
        expect([put.status, put.body]).toEqual([200, {}]);
      }
      expect((await house.get('artifacts/list', { run_id: run.id })).body).toEqual({
        root_uri: run.root,
        files: [
          { path: 'a.txt', is_dir: false, file_size: 5 },
          { path: 'model', is_dir: true },
        ],
      });
      const below = await house.get('artifacts/list', { run_uuid: run.id, path: 'model' });
      expect(below.body.files).toEqual([
        { path: 'model/MLmodel', is_dir: false, file_size: 13 },
        { path: 'model/data', is_dir: true },
      ]);
      for (const path of ['a.txt', 'none'])
        expect((await house.get('artifacts/list', { run_id: run.id, path })).body).toEqual({
          root_uri: run.root,
        });
      const file = await house.ask('GET', `/get-artifact?run_uuid=${run.id}&path=model/MLmodel`);
      expect([file.text, file.headers.get('content-type')]).toEqual([
        'model/MLmodel',
        'text/plain; charset=utf-8',
      ]);
      expect(file.headers.get('content-disposition')).toMatch(/^attachment; filename="MLmodel"/);
    },
  );

  test('a folder of many files comes in pages, each file once', async () => {
    const house = openMlflow();
    const run = await house.run();
    const place = `artifacts/0/${run.id}/artifacts`;
    await Promise.all(
      Array.from({ length: 1_050 }, (_, i) =>
        house.blobs.put(call, `${place}/f${i}`, new Uint8Array()),
      ),
    );
    const seen = new Set<string>();
    let token: string | undefined;
    do {
      const { body } = await house.get('artifacts/list', {
        run_id: run.id,
        ...(token ? { page_token: token } : {}),
      });
      for (const { path } of body.files) seen.add(path);
      token = body.next_page_token;
    } while (token);
    expect(seen.size).toBe(1_050);
  });

  test.each([
    ['/api/2.0/mlflow/artifacts/list', 400],
    ['/api/2.0/mlflow/artifacts/list?run_id=none', 404],
    ['/get-artifact?run_uuid=none&path=x', 404],
    ['/get-artifact?path=x', 400],
    ['/get-artifact?run_uuid=RUN', 400],
    ['/get-artifact?run_uuid=RUN&path=none', 404],
    ['/api/2.0/mlflow/artifacts/list?run_id=RUN&page_token=junk', 400],
  ])('GET %s: %i', async (path, status) => {
    const house = openMlflow();
    const run = await house.run();
    expect((await house.ask('GET', path.replace('RUN', run.id))).status).toBe(status);
  });

  test('an upload of more than 10 MB, or of nothing, is refused', async () => {
    const house = openMlflow();
    const run = await house.run();
    const at = `${UPLOAD}?run_uuid=${run.id}&path=f`;
    const large = await house.ask('POST', at, new Uint8Array(10 * 1024 * 1024 + 1));
    const empty = await house.ask('POST', at, Buffer.from(''));
    expect([large.status, empty.status]).toEqual([400, 400]);
    expect((await house.get('artifacts/list', { run_id: run.id })).body.files).toBeUndefined();
  });

  test('a run of another workspace is unknown, and its files with it', async () => {
    const house = openMlflow();
    const run = await house.run();
    await house.ask('POST', `${UPLOAD}?run_uuid=${run.id}&path=f`, Buffer.from('secret'));
    const who = 'tenant01';
    const asked = [
      await house.get('artifacts/list', { run_id: run.id }, who),
      await house.ask('GET', `/get-artifact?run_uuid=${run.id}&path=f`, undefined, { who }),
      await house.ask('POST', `${UPLOAD}?run_uuid=${run.id}&path=f`, Buffer.from('x'), { who }),
    ];
    const absent = await house.get('artifacts/list', { run_id: 'f'.repeat(32) }, who);
    for (const { status, body } of asked) {
      expect(status).toBe(404);
      expect(body.message).toBe(absent.body.message.replace('f'.repeat(32), run.id));
    }
  });

  test('the file of a version and of a logged model', async () => {
    const house = openMlflow();
    const run = await house.run();
    await house.ask(
      'POST',
      `${UPLOAD}?run_uuid=${run.id}&path=model/MLmodel`,
      Buffer.from('flavors'),
    );
    await house.post('registered-models/create', { name: 'churn' });
    await house.post('model-versions/create', {
      name: 'churn',
      source: `${run.root}/model`,
      run_id: run.id,
    });
    const at = '/model-versions/get-artifact?name=churn&version=1&path=';
    expect((await house.ask('GET', `${at}MLmodel`)).text).toBe('flavors');
    expect((await house.ask('GET', `${at}..%2fMLmodel`)).status).toBe(400);
    expect((await house.ask('GET', `${at}none`)).status).toBe(404);
    expect((await house.ask('GET', `${at}MLmodel`, undefined, { who: 'tenant01' })).status).toBe(
      404,
    );
    await house.post('model-versions/create', { name: 'churn', source: 's3://elsewhere/x' });
    const foreign = await house.ask(
      'GET',
      '/model-versions/get-artifact?name=churn&version=2&path=x',
    );
    expect([foreign.status, foreign.body.error_code]).toEqual([501, 'NOT_IMPLEMENTED']);
  });
});

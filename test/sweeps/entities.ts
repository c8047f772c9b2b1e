import { type Ground, openGround } from './ground.ts';
import { shellPipeline } from './spec.ts';

/** Everything planted bears this word, so that a leak is seen by its text. */
export const CANARY = 'kestrel';
export const pipelineSpec = shellPipeline(
  `${CANARY}-pipeline`,
  ['word'],
  [{ name: 'say', script: 'echo $1' }],
);

const MLMODEL = `
artifact_path: model
signature:
  inputs: '[{"type":"double","name":"age","required":true}]'
  outputs: '[{"type":"tensor","tensor-spec":{"dtype":"float64","shape":[-1]}}]'
`;
const json = JSON.stringify;
const MLFLOW = '/api/2.0/mlflow';
const KFP = '/apis/v2beta1';

/** A multipart form with one file, as the kfp client sends it. */
export const form = (text: string) => ({
  body: `--sweep\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.yaml"\r\n\r\n${text}\r\n--sweep--\r\n`,
  type: 'multipart/form-data; boundary=sweep',
});

/** One of every kind of thing, made by the routes in the owner's workspace; and the data folder that holds them. */
export async function plant() {
  let ground: Ground = openGround();
  async function made(method: string, path: string, body?: unknown, type?: string) {
    const answered = await ground.ask({
      method,
      path,
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : json(body) }),
      ...(type ? { headers: { 'content-type': type } } : {}),
    });
    if (answered.status >= 300)
      throw new Error(`${method} ${path}: ${answered.status} ${answered.text}`);
    return answered.body;
  }
  const post = (path: string, body: unknown) => made('POST', `${MLFLOW}/${path}`, body);
  const named = (what: string) => `${CANARY}-${what}`;
  const tags = [{ key: named('tag'), value: named('value') }];

  const { experiment_id: experiment } = await post('experiments/create', {
    name: named('experiment'),
    tags,
  });
  const { experiment_id: deletedExperiment } = await post('experiments/create', {
    name: named('gone'),
  });
  const runOf = async () =>
    (await post('runs/create', { experiment_id: experiment, run_name: named('run'), tags })).run
      .info;
  const { run_id: run, artifact_uri: root } = await runOf();
  const { run_id: deletedRun } = await runOf();
  await post('runs/log-batch', {
    run_id: run,
    metrics: [1, 2, 3].map((step) => ({
      key: named('metric'),
      value: step,
      timestamp: step,
      step,
    })),
    params: [{ key: named('param'), value: named('value') }],
    tags,
  });
  await post('runs/log-inputs', {
    run_id: run,
    datasets: [
      { dataset: { name: named('dataset'), digest: 'd1', source_type: 's', source: '{}' } },
    ],
  });
  const { model } = await post('logged-models', {
    experiment_id: experiment,
    name: named('logged'),
    source_run_id: run,
    tags,
    params: tags,
  });
  const metricRule = named('loss');
  for (const id of [metricRule, named('spare')])
    await made('PUT', `/api/experiments/${experiment}/metric-rules/${id}`, {
      metric: named('metric'),
      comparison: '<',
      threshold: 0,
    });
  await post('runs/delete', { run_id: deletedRun });
  await post('experiments/delete', { experiment_id: deletedExperiment });

  const folder = String(root).replace('mlflow-artifacts:/', '');
  const file = `${folder}/${CANARY}.txt`;
  const artifact = (path: string, text: string) =>
    made('PUT', `/api/2.0/mlflow-artifacts/artifacts/${path}`, text, 'application/octet-stream');
  await artifact(file, named('bytes'));
  await artifact(`${folder}/model/MLmodel`, MLMODEL);
  const modelFolder = String(model.info.artifact_uri).replace('mlflow-artifacts:/', '');
  await artifact(`${modelFolder}/${CANARY}.txt`, named('bytes'));
  const { upload_id: upload, credentials } = await made(
    'POST',
    `/api/2.0/mlflow-artifacts/mpu/create/${folder}`,
    {
      path: `${CANARY}.part`,
      num_parts: 1,
    },
  );
  const part = await ground.platform.blobs.serve(
    new Request(credentials[0].url, { method: 'PUT', body: named('part') }),
  );
  const etag = part?.headers.get('etag') ?? '';
  await made('PUT', `/api/data/${CANARY}/drop.csv`, named('bytes'), 'text/csv');

  const registered = named('model');
  await post('registered-models/create', { name: registered, tags, description: named('words') });
  for (const _ of [1, 2, 3])
    await post('model-versions/create', {
      name: registered,
      source: `${root}/model`,
      run_id: run,
      tags,
    });
  await post('registered-models/alias', { name: registered, alias: 'champion', version: '1' });

  const { experiment_id: kfpExperiment } = await made('POST', `${KFP}/experiments`, {
    display_name: named('experiment'),
  });
  const { body, type } = form(json(pipelineSpec));
  const pipelineMade = await made(
    'POST',
    `${KFP}/pipelines/upload?name=${named('pipeline')}`,
    body,
    type,
  );
  const pipeline: string = pipelineMade.pipeline_id;
  const versions = await made('GET', `${KFP}/pipelines/${pipeline}/versions`);
  const version: string = versions.pipeline_versions[0].pipeline_version_id;
  const { pipeline_version_id: spareVersion } = await made(
    'POST',
    `${KFP}/pipelines/upload_version?pipelineid=${pipeline}&name=${named('spare')}`,
    body,
    type,
  );
  const runKfp = async () =>
    (
      await made('POST', `${KFP}/runs`, {
        display_name: named('run'),
        experiment_id: kfpExperiment,
        pipeline_version_reference: { pipeline_id: pipeline, pipeline_version_id: version },
        runtime_config: { parameters: { word: named('word') } },
      })
    ).run_id as string;

  const endpoint = named('endpoint');
  const rule = named('rule');
  let failedRun = '';
  await ground.alive(async () => {
    failedRun = await runKfp();
    await made('PUT', `/api/endpoints/${endpoint}`, { model: `models:/${registered}/1` });
    await made('PUT', `/api/rules/${rule}`, {
      on: { event: { type: `custom.${CANARY}.told` } },
      start: { pipeline: named('pipeline'), parameters: { word: '$.data.word' } },
    });
    await made('POST', '/api/events', {
      type: `custom.${CANARY}.told`,
      data: { word: named('word') },
    });
  });
  // What follows is to stand as it was made: on a ground where no machine ever moves.
  const moved = ground;
  await moved.platform.close();
  ground = openGround(moved.data);
  await moved.close();
  const openRun = await runKfp();
  const gate = { model: registered, metric: named('metric'), direction: 'lower' };
  const { id: retraining } = await made('POST', '/api/retrainings', {
    pipeline: named('pipeline'),
    parameters: { word: named('word') },
    gate,
  });
  const { id: token } = await made('POST', '/api/tokens', { name: named('token') });
  const { revisions } = await made('GET', `/api/endpoints/${endpoint}/revisions`);
  const { firings } = await made('GET', `/api/rules/${rule}/firings`);
  const archivedRun = await runKfp();
  await made('POST', `${KFP}/runs/${archivedRun}:archive`);
  const [told] = (await ground.platform.table.entries(ground.call, `models/${registered}`)).entries;
  const letter = 'governance-anchor.7';
  await ground.platform.table.letters.put(letter.replace('.', '/'), {
    id: letter.replace('.', '/'),
    follower: 'governance-anchor',
    entry: { told },
    error: 'Error: no',
    attempts: 8,
    at: 1,
  });
  await ground.platform.close();
  const entities = {
    experiment,
    deletedExperiment,
    run,
    deletedRun,
    root,
    folder,
    file,
    upload,
    etag,
    metricRule,
    loggedModel: model.info.model_id as string,
    registered,
    kfpExperiment,
    pipeline,
    version,
    spareVersion,
    failedRun,
    openRun,
    archivedRun,
    endpoint,
    revision: revisions[0].revision as string,
    rule,
    firing: firings[0].id as string,
    retraining,
    token,
    letter,
    gate,
  };
  return { entities, data: ground.data, remove: () => ground.remove() };
}
export type Entities = Awaited<ReturnType<typeof plant>>['entities'];

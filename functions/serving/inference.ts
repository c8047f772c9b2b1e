import * as z from 'zod';
import type { Call } from '../kernel/call.ts';
import { readJson, writeJson } from '../kernel/json.ts';
import { Problem } from '../kernel/problem.ts';
import { type Incoming, type Route, routesOf } from '../kernel/route.ts';
import type { InferenceAnswer } from '../platform/ports.ts';
import { inference } from '../protocols/inference.ts';
import { type Endpoint, LIMITS, type Signature } from './model.ts';
import type { Answered, Answering, Predictions, Shape } from './prediction.ts';
import { InferRequest, invocationOf, outputsOf, readPredictions, readTensor } from './tensors.ts';

const JSON_DEEP = { depth: 64, members: 5_000_000 };

/** Bodies here are larger than control bodies; the text stays at hand so that it can be passed on as it came. */
async function decode(incoming: Incoming): Promise<unknown> {
  if (incoming.method === 'GET') return { ...incoming.params };
  if (incoming.headers.has('inference-header-content-length'))
    throw new Problem('unsupported', 'Binary tensors are not read here; send data as JSON.');
  const type = incoming.headers.get('content-type') ?? 'application/json';
  if (!/^application\/([\w.+-]+\+)?json\b/i.test(type))
    throw new Problem('media', 'Send the body as application/json.', { field: 'Content-Type' });
  const text = await incoming.text();
  if (text === '') throw new Problem('invalid', 'The body is empty; send a JSON object.');
  return { ...incoming.params, body: readJson(text, { limits: JSON_DEEP, exact: true }) };
}
const inferenceRoute = routesOf({ ...inference, decode });

const small = { bodyBytes: 0, timeoutSeconds: 10 };
const large = { bodyBytes: LIMITS.bodyBytes, timeoutSeconds: LIMITS.timeoutSeconds };
const Model = z.object({ model: z.string().max(200) });
const Versioned = Model.extend({ version: z.string().max(20).optional() });
const resource = ({ model }: { model: string }) => `endpoints/${model}`;
const everything = () => 'endpoints';

/** `instances` as rows, or `inputs`; both are MLflow's own words too, so the bytes can go on as they are. */
const PredictRequest = z
  .looseObject({
    instances: z.array(z.unknown(), 'must be a list').min(1, 'must not be empty').optional(),
    inputs: z.unknown().optional(),
  })
  .refine((body) => (body.instances === undefined) !== (body.inputs === undefined), {
    message: 'must hold exactly one of instances and inputs',
  });

const Any = z.unknown();
const VERSION = '0.1.0';

/** KServe's V1 and the Open Inference Protocol (V2), for tabular models. Source: kube.md section 4.2. */
export function inferenceRoutes(predictions: Predictions): Route[] {
  return [...v1(predictions), ...v2(predictions)];
}

function v1(predictions: Predictions): Route[] {
  return [
    inferenceRoute('GET', '/v1/models', 'serving:read', {
      input: z.object({}),
      output: z.object({ models: z.array(z.string()) }),
      resource: everything,
      limits: small,
      summary: 'Names of all endpoints (KServe V1)',
      run: async (call) => ({ models: (await predictions.all(call)).map(({ name }) => name) }),
    }),
    inferenceRoute('GET', '/v1/models/{model}', 'serving:read', {
      input: Model,
      output: z.object({ name: z.string(), ready: z.boolean() }),
      resource,
      limits: small,
      summary: 'Whether an endpoint answers (KServe V1)',
      run: async (call, { model }) => {
        const endpoint = await predictions.find(call, model);
        return { name: model, ready: await predictions.ready(call, endpoint) };
      },
    }),
    inferenceRoute('POST', '/v1/models/{model}:predict', 'serving:invoke', {
      input: Model.extend({ body: PredictRequest }),
      output: z.object({ predictions: Any }),
      resource,
      limits: large,
      retry: 'none',
      streams: true,
      summary: 'Predict (KServe V1)',
      run: async (call, { model, body }, incoming) => {
        const endpoint = await predictions.find(call, model);
        const bytes = await incoming.bytes();
        const { answer } = await ask(predictions, call, endpoint, (signature) => {
          const rows = body.instances && named(body.instances, signature);
          return rows ? encoded(rows) : bytes;
        });
        return new Response(answer.body as BodyInit, {
          headers: { 'Content-Type': answer.contentType },
        });
      },
    }),
  ];
}

function v2(predictions: Predictions): Route[] {
  const health = (path: string, answer: Record<string, unknown>) =>
    inferenceRoute('GET', path, 'serving:read', {
      input: z.object({}),
      output: Any,
      resource: everything,
      limits: small,
      open: true,
      run: () => answer,
    });
  const atVersions = (suffix: string) => [
    `/v2/models/{model}${suffix}`,
    `/v2/models/{model}/versions/{version}${suffix}`,
  ];
  return [
    health('/v2', { name: 'stillflow', version: VERSION, extensions: [] }),
    health('/v2/health/live', { live: true }),
    health('/v2/health/ready', { ready: true }),
    inferenceRoute('GET', '/v2/models', 'serving:read', {
      input: z.object({}),
      output: z.object({ models: z.array(z.string()) }),
      resource: everything,
      limits: small,
      run: async (call) => ({ models: (await predictions.all(call)).map(({ name }) => name) }),
    }),
    ...atVersions('').map((path) =>
      inferenceRoute('GET', path, 'serving:read', {
        input: Versioned,
        output: Any,
        resource,
        limits: small,
        summary: 'What a model takes and gives (V2)',
        run: async (call, input) => {
          const { endpoint, answering } = await versioned(predictions, call, input);
          return described(endpoint, answering);
        },
      }),
    ),
    ...atVersions('/ready').map((path) =>
      inferenceRoute('GET', path, 'serving:read', {
        input: Versioned,
        output: z.object({ name: z.string(), ready: z.boolean() }),
        resource,
        limits: small,
        summary: 'Whether a model answers (V2)',
        run: async (call, input) => {
          const { endpoint } = await versioned(predictions, call, input);
          if (!(await predictions.ready(call, endpoint)))
            throw new Problem('unavailable', `${endpoint.name} is not ready.`, {
              retryAfterSeconds: 5,
            });
          return { name: endpoint.name, ready: true };
        },
      }),
    ),
    ...atVersions('/infer').map((path) =>
      inferenceRoute('POST', path, 'serving:invoke', {
        input: Versioned.extend({ body: InferRequest }),
        output: Any,
        resource,
        limits: large,
        retry: 'none',
        summary: 'Predict (Open Inference Protocol, JSON tensors)',
        run: (call, input) => infer(predictions, call, input),
      }),
    ),
  ];
}

const serves = (answering: Answering | undefined, version: string): boolean =>
  answering !== undefined && String(answering.served.version) === version;

const unserved = (model: string, version: string) =>
  new Problem('missing', `Endpoint ${model} does not serve version ${version}.`);

/** What answers now. Throws `missing` where that is another version than was asked for. */
async function versioned(
  predictions: Predictions,
  call: Call,
  { model, version }: z.infer<typeof Versioned>,
): Promise<{ endpoint: Endpoint; answering: Answering | undefined }> {
  const endpoint = await predictions.find(call, model);
  const answering = await predictions.answering(call, endpoint);
  if (version !== undefined && !serves(answering, version)) throw unserved(model, version);
  return { endpoint, answering };
}

/** Whether a version is worth asking for: what answers, or what is about to. */
const mayServe = ({ served, wanted }: Endpoint, version: string): boolean =>
  [served, wanted].some((one) => String(one?.version) === version);

async function infer(
  predictions: Predictions,
  call: Call,
  { body, model, version }: z.infer<typeof Versioned> & { body: InferRequest },
) {
  let endpoint = await predictions.find(call, model);
  if (version !== undefined && !mayServe(endpoint, version)) {
    endpoint = await predictions.recent(call, model);
    if (!mayServe(endpoint, version)) throw unserved(model, version);
  }
  const tensors = body.inputs.map(readTensor);
  const { answer, by } = await ask(predictions, call, endpoint, (signature) =>
    encoded(invocationOf(tensors, signature)),
  );
  const text = await textOf(answer);
  if (version !== undefined && !by)
    throw new Problem(
      'unsupported',
      `The host of ${model} does not say which version answered; ask for none.`,
    );
  if (version !== undefined && !serves(by, version)) throw unserved(model, version);
  const outputs = outputsOf(readPredictions(text));
  return {
    model_name: endpoint.name,
    // What is not known is left out, which the protocol allows.
    ...(by ? { model_version: String(by.served.version) } : {}),
    ...(body.id ? { id: body.id } : {}),
    outputs: body.outputs?.length ? chosen(outputs, body.outputs) : outputs,
  };
}

function chosen<T extends { name: string }>(outputs: readonly T[], asked: { name: string }[]): T[] {
  return asked.map(({ name }) => {
    const output = outputs.find((each) => each.name === name);
    if (output) return output;
    const names = outputs.map((each) => each.name).join(', ');
    throw new Problem('invalid', `Tensor '${name}': the model gives ${names}.`, { field: name });
  });
}

/** Rows without names get the signature's, as a model of columns wants; undefined: pass the bytes on. */
function named(rows: readonly unknown[], signature: Signature | undefined) {
  const width = signature?.inputs.length;
  if (signature?.kind !== 'columns') return undefined;
  if (!rows.every((row) => Array.isArray(row) && row.length === width)) return undefined;
  return { dataframe_split: { columns: signature.inputs.map(({ name }) => name), data: rows } };
}

const encoded = (body: unknown): Uint8Array => Buffer.from(writeJson(body));

async function textOf(answer: InferenceAnswer): Promise<string> {
  return new Response(answer.body as BodyInit).text();
}

/** What the model says went wrong, in this wire's words and with its own status. */
async function ask(
  predictions: Predictions,
  call: Call,
  endpoint: Endpoint,
  shape: Shape,
): Promise<Answered> {
  const answered = await predictions.askShaped(call, endpoint, shape);
  const { answer } = answered;
  if (answer.status < 400) return answered;
  const text = (await textOf(answer)).slice(0, 10_000);
  const code = answer.status < 500 ? 'invalid' : answer.status === 503 ? 'unavailable' : 'internal';
  throw new Problem(code, messageOf(text), { status: answer.status });
}

function messageOf(text: string): string {
  try {
    const { message, error } = JSON.parse(text) ?? {};
    return String(message ?? error ?? text);
  } catch {
    return text || 'The model failed to answer.';
  }
}

/** MLflow's type names in V2's. Source: mlflow/types/schema.py, DataType; numpy's for tensors. */
const TYPES: Readonly<Record<string, string>> = {
  boolean: 'BOOL',
  bool: 'BOOL',
  integer: 'INT32',
  int32: 'INT32',
  long: 'INT64',
  int64: 'INT64',
  float: 'FP32',
  float32: 'FP32',
  double: 'FP64',
  float64: 'FP64',
};

function described({ name }: Endpoint, answering: Answering | undefined) {
  const signature = answering?.signature;
  const tensor = (field: Signature['inputs'][number]) => ({
    name: field.name,
    datatype: TYPES[field.type] ?? 'BYTES',
    shape: field.shape,
  });
  return {
    name,
    versions: answering ? [String(answering.served.version)] : [],
    platform: 'mlflow_pyfunc',
    inputs: signature?.inputs.map(tensor) ?? [],
    outputs: signature?.outputs.map(tensor) ?? [],
  };
}

import { locations } from '../functions/platform/aws/locations.ts';
import type { Platform } from '../functions/platform/ports.ts';
import { groundRooms, registryOver } from '../functions/wire.ts';
import { call, type Ground, type HouseOptions, openHouse } from './house.ts';

interface MlflowOptions extends HouseOptions {
  readonly artifacts?: Platform['artifacts'];
  /** Locations are worded as this bucket's, as in an account. */
  readonly bucket?: string;
  /** As behind a gateway, whose answers are no larger. */
  readonly largestAnswerBytes?: number;
}
export type MlflowHouse = ReturnType<typeof openMlflow>;
export type TrackingHouse = ReturnType<typeof openTracking>;

const BASE = '/api/2.0/mlflow';

/** Artifacts, tracking and registry, asked as MLflow's clients ask. */
export const openMlflow = (options: MlflowOptions = {}) =>
  open(options, (platform) => {
    const rooms = groundRooms(platform);
    return { ...rooms, registry: registryOver(platform, rooms) };
  });
/** Without the registry. */
export const openTracking = (options: MlflowOptions = {}) => open(options, groundRooms);

function open<Rooms extends ReturnType<typeof groundRooms>>(
  options: MlflowOptions,
  build: (platform: Ground) => Rooms,
) {
  const { artifacts = 'proxy', bucket, largestAnswerBytes } = options;
  const limit = largestAnswerBytes === undefined ? {} : { largestAnswerBytes };
  const places = bucket === undefined ? {} : locations(bucket);
  const home = openHouse(build, {
    ports: ({ blobs }) => ({ artifacts, blobs: { ...blobs, ...places, ...limit } }),
    ...options,
  });
  const send = (method: string, path: string, body: unknown, who?: string) =>
    home.ask(method, `${BASE}/${path}`, body, who === undefined ? {} : { who });
  return {
    ...home,
    send,
    post: (path: string, body: unknown, who?: string) => send('POST', path, body, who),
    get(path: string, query: Record<string, string | readonly string[]> = {}, who?: string) {
      const search = new URLSearchParams();
      for (const [name, value] of Object.entries(query))
        for (const one of [value].flat()) search.append(name, String(one));
      return send('GET', `${path}?${search}`, undefined, who);
    },
    /** A run of experiment 0: its id and where its artifacts lie. */
    async run(who?: string): Promise<{ id: string; root: string }> {
      const asked = { experiment_id: '0', start_time: 1 };
      const { body } = await send('POST', 'runs/create', asked, who);
      return { id: body.run.info.run_id, root: body.run.info.artifact_uri };
    },
  };
}

/** A run made through the front door. */
export async function newRun(
  home: TrackingHouse,
  more: Record<string, unknown> = {},
  who?: string,
): Promise<string> {
  const { status, body } = await home.post('runs/create', { experiment_id: '0', ...more }, who);
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body.run.info.run_id;
}

/** What lies in the blobs of the default workspace. */
export const blobsOf = async (home: TrackingHouse) => (await home.blobs.list(call, '')).blobs;

/** The data of a run as the wire gives it, tags and params by key. */
export async function dataOf(home: TrackingHouse, id: string, who?: string) {
  const { body } = await home.get('runs/get', { run_id: id }, who);
  const byKey = (list: { key: string; value: unknown }[] = []) =>
    Object.fromEntries(list.map(({ key, value }) => [key, value]));
  const { metrics, params, tags } = body.run.data;
  return {
    info: body.run.info,
    inputs: body.run.inputs,
    outputs: body.run.outputs,
    metrics: byKey(metrics),
    params: byKey(params),
    tags: byKey(tags),
  };
}

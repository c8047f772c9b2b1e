import { existsSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { copyTree, exists, type JobFolder, type LocalSpec, nodeFolder } from './job_folder.ts';
import { passedOn } from './processes.ts';

/** A Python environment to run in: its `bin` folder and what else its programs need to see. */
export interface Interpreter {
  readonly bin: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Placement {
  readonly folder: JobFolder;
  readonly spec: LocalSpec;
  readonly node: number;
  /** Free at the start of the job; where rank 0 may listen. */
  readonly masterPort: number;
  readonly interpreter: Interpreter | undefined;
  readonly hostEnv: NodeJS.ProcessEnv;
}

/** Every address of 127/8 answers on loopback, so nodes have names that resolve. Source: aws.md section 4.3 (trap). */
const host = (node: number) => `127.0.0.${node + 1}`;
const upper = (name: string) => name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');

/** Makes a node's folders and stages its inputs. May run again after a crash. Throws if an input is not there. */
export async function stageNode({ folder, spec, node }: Placement): Promise<void> {
  const root = nodeFolder(folder, node);
  const ml = join(root, 'ml');
  const made = ['input/config', 'input/data', 'output/data', 'model', 'code'];
  for (const name of made) await mkdir(join(ml, name), { recursive: true });
  for (const name of ['home', 'tmp', 'work'])
    await mkdir(join(root, 'scratch', name), { recursive: true });
  for (const { name } of spec.outputs) await mkdir(join(ml, 'output', name), { recursive: true });
  for (const { name, uri } of spec.inputs) {
    if (!(await exists(uri))) throw new Error(`input '${name}' is not there: ${uri}`);
    await copyTree(uri, join(ml, 'input/data', name));
  }
  if (spec.checkpoint === undefined) await mkdir(join(ml, 'checkpoints'), { recursive: true });
  else if (!(await exists(join(ml, 'checkpoints')))) {
    // A link: what a node writes there has survived it the moment it is written.
    await mkdir(spec.checkpoint, { recursive: true });
    await symlink(spec.checkpoint, join(ml, 'checkpoints'));
  }
  await writeConfig(ml, spec, node);
}

async function writeConfig(ml: string, spec: LocalSpec, node: number): Promise<void> {
  const hosts = Array.from({ length: spec.nodes }, (_, index) => host(index));
  const group = { instance_group_name: 'group1', instance_type: 'local', hosts };
  const config = {
    hyperparameters: spec.hyperparameters ?? {},
    resourceconfig: {
      current_host: host(node),
      current_instance_type: 'local',
      current_group_name: 'group1',
      hosts,
      instance_groups: [group],
      network_interface_name: 'lo',
    },
    inputdataconfig: Object.fromEntries(
      spec.inputs.map(({ name }) => [
        name,
        {
          TrainingInputMode: 'File',
          S3DistributionType: 'FullyReplicated',
          RecordWrapperType: 'None',
        },
      ]),
    ),
  };
  for (const [name, value] of Object.entries(config))
    await writeFile(join(ml, 'input/config', `${name}.json`), JSON.stringify(value));
}

/**
 * The whole environment of a node's process: nothing of the server's own but what `passedOn` lets through.
 * Source: aws.md sections 4.1 to 4.3; sagemaker-training-toolkit src/sagemaker_training/environment.py, params.py.
 */
export function nodeEnv(placement: Placement): Record<string, string> {
  const { folder, spec, node, interpreter, hostEnv } = placement;
  const root = nodeFolder(folder, node);
  const ml = join(root, 'ml');
  const hosts = Array.from({ length: spec.nodes }, (_, index) => host(index));
  const accelerators = spec.resources.accelerator?.count ?? 0;
  const named = Object.fromEntries([
    ...spec.inputs.map(({ name }) => [`SM_CHANNEL_${upper(name)}`, join(ml, 'input/data', name)]),
    ...Object.entries(spec.hyperparameters ?? {}).map(([name, value]) => [
      `SM_HP_${upper(name)}`,
      value,
    ]),
  ]) as Record<string, string>;
  // What a step installs itself stays its own: the environment below is shared.
  const packages = join(root, 'scratch/packages');
  const path = [
    interpreter && join(packages, 'bin'),
    interpreter?.bin,
    spec.env['PATH'],
    hostEnv['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
  ];
  return {
    ...passedOn(hostEnv),
    ...pipConfig(hostEnv),
    HOME: join(root, 'scratch/home'),
    TMPDIR: join(root, 'scratch/tmp'),
    LANG: 'C.UTF-8',
    PYTHONUNBUFFERED: '1',
    ...interpreter?.env,
    ...(interpreter && { PIP_TARGET: packages, PYTHONPATH: packages }),
    SAGEMAKER_BASE_DIR: ml,
    TRAINING_JOB_NAME: spec.name,
    TRAINING_JOB_ARN: `arn:aws:sagemaker:local:000000000000:training-job/${spec.name}`,
    SM_MODEL_DIR: join(ml, 'model'),
    SM_INPUT_DIR: join(ml, 'input'),
    SM_INPUT_CONFIG_DIR: join(ml, 'input/config'),
    SM_OUTPUT_DIR: join(ml, 'output'),
    SM_OUTPUT_DATA_DIR: join(ml, 'output/data'),
    SM_OUTPUT_FAILURE: join(ml, 'output/failure'),
    SM_CHECKPOINT_DIR: join(ml, 'checkpoints'),
    SM_CHANNELS: JSON.stringify(spec.inputs.map(({ name }) => name)),
    SM_HPS: JSON.stringify(spec.hyperparameters ?? {}),
    SM_HOSTS: JSON.stringify(hosts),
    SM_HOST_COUNT: String(spec.nodes),
    SM_CURRENT_HOST: host(node),
    SM_CURRENT_HOST_RANK: String(node),
    SM_CURRENT_INSTANCE_TYPE: 'local',
    SM_CURRENT_INSTANCE_GROUP: 'group1',
    SM_NETWORK_INTERFACE_NAME: 'lo',
    SM_NUM_CPUS: String(Math.ceil(spec.resources.cpus ?? 1)),
    SM_NUM_GPUS: String(accelerators),
    SM_JOB_NAME: spec.name,
    SM_LOG_LEVEL: '20',
    MASTER_ADDR: host(0),
    MASTER_PORT: String(placement.masterPort),
    RANK: String(node),
    LOCAL_RANK: '0',
    WORLD_SIZE: String(spec.nodes),
    ...named,
    ...spec.env,
    PATH: path.filter(Boolean).join(delimiter),
  };
}

/** The user's own pip settings hold the index to ask; HOME is another one inside the job. */
function pipConfig(hostEnv: NodeJS.ProcessEnv): Record<string, string> {
  const home = hostEnv['HOME'];
  if (hostEnv['PIP_CONFIG_FILE'] !== undefined || home === undefined) return {};
  const places = [
    join(hostEnv['XDG_CONFIG_HOME'] ?? join(home, '.config'), 'pip/pip.conf'),
    join(home, '.pip/pip.conf'),
  ];
  const found = places.find((path) => existsSync(path));
  return found === undefined ? {} : { PIP_CONFIG_FILE: found };
}

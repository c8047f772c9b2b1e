import type { JobSpec } from '../ports.ts';

/** Which of SageMaker's instances hold what was asked for: pure data and the choice from it. */

export type Resources = JobSpec['resources'];
type Chip = 'T4' | 'A10G' | 'L4' | 'L40S' | 'A100' | 'H100' | 'H200' | 'TRAINIUM' | 'TRAINIUM2';
export type Use = 'training' | 'processing' | 'hosting';

interface Family {
  /** Absent: none but CPUs. */
  readonly chip?: Chip;
  /** Its disks are NVMe that it brings along, under keys of their own: no volume and no key may be asked for. */
  readonly nvme?: true;
  /** Its largest sizes have the fast network (EFA). */
  readonly efa?: true;
  /** What takes it; all of the three where absent. */
  readonly uses?: readonly Use[];
  /** Size, vCPUs, GiB of memory, accelerators; smallest first. */
  readonly sizes: readonly (readonly [size: string, cores: number, gib: number, chips: number])[];
}

const standard = (...further: Family['sizes']): Family['sizes'] => [
  ['large', 2, 8, 0],
  ['xlarge', 4, 16, 0],
  ['2xlarge', 8, 32, 0],
  ['4xlarge', 16, 64, 0],
  ...further,
];
/** Twice the memory of the older ones in L40S. */
const graphics = (gibPerCore: number): Family['sizes'] => [
  ['xlarge', 4, 4 * gibPerCore, 1],
  ['2xlarge', 8, 8 * gibPerCore, 1],
  ['4xlarge', 16, 16 * gibPerCore, 1],
  ['8xlarge', 32, 32 * gibPerCore, 1],
  ['16xlarge', 64, 64 * gibPerCore, 1],
  ['12xlarge', 48, gibPerCore === 8 ? 384 : 192, 4],
  ['24xlarge', 96, gibPerCore === 8 ? 768 : 384, 4],
  ['48xlarge', 192, 192 * gibPerCore, 8],
];
const notProcessing = ['training', 'hosting'] as const;

/**
 * As of 24 Nov 2026. Names and what takes them: botocore's model of SageMaker (TrainingInstanceType,
 * ProcessingInstanceType, ProductionVariantInstanceType), which test/aws/requests.test.ts holds them to. Cores, memory,
 * chips: EC2's instance type pages, from memory (verify). The order is that of preference; prices are not needed here.
 */
const FAMILIES: Readonly<Record<string, Family>> = {
  m5: { sizes: standard(['12xlarge', 48, 192, 0], ['24xlarge', 96, 384, 0]) },
  m6i: {
    sizes: standard(
      ['8xlarge', 32, 128, 0],
      ['12xlarge', 48, 192, 0],
      ['16xlarge', 64, 256, 0],
      ['24xlarge', 96, 384, 0],
      ['32xlarge', 128, 512, 0],
    ),
  },
  m7i: {
    sizes: standard(
      ['8xlarge', 32, 128, 0],
      ['12xlarge', 48, 192, 0],
      ['16xlarge', 64, 256, 0],
      ['24xlarge', 96, 384, 0],
      ['48xlarge', 192, 768, 0],
    ),
  },
  c5n: { efa: true, uses: ['training'], sizes: [['18xlarge', 72, 192, 0]] },
  g5: { chip: 'A10G', nvme: true, sizes: graphics(4) },
  g6: { chip: 'L4', nvme: true, sizes: graphics(4) },
  g6e: { chip: 'L40S', nvme: true, sizes: graphics(8) },
  g4dn: {
    chip: 'T4',
    nvme: true,
    sizes: [
      ['xlarge', 4, 16, 1],
      ['2xlarge', 8, 32, 1],
      ['4xlarge', 16, 64, 1],
      ['8xlarge', 32, 128, 1],
      ['16xlarge', 64, 256, 1],
      ['12xlarge', 48, 192, 4],
    ],
  },
  p4d: {
    chip: 'A100',
    nvme: true,
    efa: true,
    uses: notProcessing,
    sizes: [['24xlarge', 96, 1152, 8]],
  },
  p4de: {
    chip: 'A100',
    nvme: true,
    efa: true,
    uses: notProcessing,
    sizes: [['24xlarge', 96, 1152, 8]],
  },
  p5: {
    chip: 'H100',
    nvme: true,
    efa: true,
    uses: notProcessing,
    sizes: [
      ['4xlarge', 16, 256, 1],
      ['48xlarge', 192, 2048, 8],
    ],
  },
  p5e: {
    chip: 'H200',
    nvme: true,
    efa: true,
    uses: notProcessing,
    sizes: [['48xlarge', 192, 2048, 8]],
  },
  p5en: {
    chip: 'H200',
    nvme: true,
    efa: true,
    uses: notProcessing,
    sizes: [['48xlarge', 192, 2048, 8]],
  },
  trn1: {
    chip: 'TRAINIUM',
    nvme: true,
    efa: true,
    uses: ['training'],
    sizes: [
      ['2xlarge', 8, 32, 1],
      ['32xlarge', 128, 512, 16],
    ],
  },
  trn1n: {
    chip: 'TRAINIUM',
    nvme: true,
    efa: true,
    uses: ['training'],
    sizes: [['32xlarge', 128, 512, 16]],
  },
  trn2: {
    chip: 'TRAINIUM2',
    nvme: true,
    efa: true,
    uses: ['training'],
    sizes: [['48xlarge', 192, 2048, 16]],
  },
};

const NVIDIA = /^(nvidia(\.com\/gpu)?|gpu|cuda)$/i;
const CARD = /(?:^|[^a-z0-9])(T4|A10G|L4|L40S|A100|H100|H200)(?![a-z0-9])/i;
const NEURON = /^(aws\.amazon\.com\/neuron(device)?|neuron|trainium|trn1)$/i;
const NEURON2 = /^(trainium-?2|trn2)$/i;
/** Google's chips, as kfp and Kubernetes name them. */
const TPU = /^(tpu|tpu[-_ ]?v\d.*|google\.com\/tpu|cloud-tpus\.google\.com\/.+)$/i;

/** What a name of an accelerator stands for here; undefined if for nothing that AWS has. A TPU is Trainium. */
export function chipsOf(type: string): readonly Chip[] | undefined {
  if (NVIDIA.test(type)) return ['A10G', 'L4', 'L40S', 'T4', 'A100', 'H100', 'H200'];
  if (NEURON.test(type) || TPU.test(type)) return ['TRAINIUM'];
  if (NEURON2.test(type)) return ['TRAINIUM2'];
  const card = CARD.exec(type)?.[1]?.toUpperCase();
  return card === undefined ? undefined : [card as Chip];
}

export const isNeuron = ({ accelerator }: Resources): boolean =>
  (accelerator?.count ?? 0) > 0 &&
  (chipsOf(accelerator?.type ?? '')?.[0]?.startsWith('TRAINIUM') ?? false);

export interface Instance {
  readonly type: string;
  readonly gib: number;
  readonly chips: number;
  readonly nvme: boolean;
}

const GIB = 2 ** 30;
/** Source: SageMaker API, InstancePreferences: 1 to 5. */
const MOST = 5;

/**
 * The instances that hold a node, best first: of each family the smallest, and after the first only those that stand in
 * for it: without accelerators where it has none, as many of a like card where it has some. Never a dearer class: whoever
 * asks for any GPU gets no A100 when the small ones are gone. Empty if none does.
 */
export function instancesFor(resources: Resources, use: Use = 'training'): Instance[] {
  const { cpus = 1, memoryBytes = 0, accelerator, network } = resources;
  const asked = accelerator?.count ?? 0;
  const chips = asked > 0 ? chipsOf(accelerator?.type ?? '') : undefined;
  if (asked > 0 && !chips) return [];
  const found = Object.entries(FAMILIES).flatMap(([family, { chip, nvme, efa, uses, sizes }]) => {
    if (uses && !uses.includes(use)) return [];
    if (asked > 0 ? !chip || !chips?.includes(chip) : chip) return [];
    if (network === 'fast' ? !efa : efa && !chip) return [];
    const fits = network === 'fast' ? sizes.slice(-1) : sizes;
    const fit = fits.find(
      ([, cores, gib, has]) => cores >= cpus && gib * GIB >= memoryBytes && has >= asked,
    );
    if (!fit) return [];
    const [size, , gib, has] = fit;
    return { type: `ml.${family}.${size}`, gib, chips: has, nvme: nvme ?? false, like: chip };
  });
  const [first] = found;
  const small = (chip: Chip | undefined) => !chip || ['A10G', 'L4', 'L40S', 'T4'].includes(chip);
  return found
    .filter(
      ({ chips: has, like }) =>
        has === first?.chips && (like === first.like || (small(like) && small(first.like))),
    )
    .slice(0, MOST)
    .map(({ like: _, ...instance }) => instance);
}

/** Why nothing was found, naming what was asked for. */
export function noneFor(resources: Resources): string {
  const { accelerator, cpus, memoryBytes, network } = resources;
  if (accelerator && accelerator.count > 0 && !chipsOf(accelerator.type))
    return `accelerator '${accelerator.type}' is none that SageMaker has: ask for nvidia.com/gpu, a card (T4, A10G, L4, L40S, A100, H100, H200), or aws.amazon.com/neuron (Trainium, which a TPU becomes too).`;
  const parts = [
    accelerator && accelerator.count > 0 ? `${accelerator.count} ${accelerator.type}` : '',
    cpus === undefined ? '' : `${cpus} CPUs`,
    memoryBytes === undefined ? '' : `${Math.ceil(memoryBytes / GIB)} GiB of memory`,
    network === 'fast' ? 'the fast network' : '',
  ].filter(Boolean);
  return `no instance has what it asks for on one node: ${parts.join(', ')}.`;
}

import { testWorld } from '../world.ts';

/** How often a server is killed. */
export const KILLS = Number(process.env['STILLFLOW_KILLS'] ?? 20);
/** Said with every result, so that a failure can be played again; the machine's own timing stays its own. */
export const SEED = Number(process.env['SEED'] ?? Date.now() & 0x7fffffff);

/** Numbers from 0 to below `below`, following from the seed. */
export function chooser(seed: number): (below: number) => number {
  const world = testWorld(seed);
  return (below) => {
    const [a = 0, b = 0, c = 0] = world.randomBytes(3);
    return ((a << 16) | (b << 8) | c) % below;
  };
}

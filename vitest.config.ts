import { defineConfig } from 'vitest/config';

/** One project a kind of suite; `npm test` runs the first four. Mirrors STYLE.md, "Tools and loop". */
const project = (name: string, include: string[], options: Record<string, unknown> = {}) => ({
  extends: true as const,
  test: { name, include, exclude: ['node_modules/**'], ...options },
});
/** Seconds of servers and model servers starting: beside the kill tests, which do the same. */
const STARTING = ['test/serving/registered.test.ts', 'test/operations/doctor.test.ts'];
const slow = { testTimeout: 300_000, hookTimeout: 300_000, fileParallelism: false };

export default defineConfig({
  test: {
    pool: 'forks',
    // One core fewer by default, which on two is half of them.
    maxWorkers: '100%',
    projects: [
      project('unit', ['test/**/*.test.ts'], {
        exclude: [
          'node_modules/**',
          ...STARTING,
          ...[
            'contracts',
            'golden',
            'web',
            'stacks',
            'assembly',
            'aws',
            'clients',
            'examples',
            'browser',
            'kill',
            'sweeps',
          ].map((dir) => `test/${dir}/**`),
        ],
        testTimeout: 20_000,
      }),
      project('contract', ['test/contracts/**/*.test.ts'], { testTimeout: 30_000 }),
      project('golden', ['test/golden/**/*.test.ts'], { testTimeout: 30_000 }),
      project('web', ['test/web/**/*.test.ts'], { testTimeout: 20_000 }),
      project('stacks', ['test/stacks/**/*.test.ts'], slow),
      project('assembly', ['test/assembly/**/*.test.ts'], slow),
      project('aws', ['test/aws/**/*.test.ts'], slow),
      project('clients', ['test/clients/**/*.test.ts'], slow),
      project('examples', ['test/examples/**/*.test.ts'], slow),
      project('browser', ['test/browser/**/*.test.ts'], slow),
      project('kill', ['test/kill/**/*.test.ts', ...STARTING], slow),
      project('sweeps', ['test/sweeps/**/*.test.ts'], { testTimeout: 120_000 }),
    ],
  },
});

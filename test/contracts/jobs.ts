import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Call } from '../../functions/kernel/call.ts';
import { Problem } from '../../functions/kernel/problem.ts';
import type { Job, JobSpec, Jobs } from '../../functions/platform/ports.ts';
import { until } from '../jobs/until.ts';

/** A runner under test, with its own store of files. */
export interface JobsWorld {
  readonly jobs: Jobs;
  readonly call: Call;
  /** Of another workspace. */
  readonly stranger: Call;
  /** As `Blobs.locate` words a prefix. */
  uri(prefix: string): string;
  put(path: string, text: string): Promise<void>;
  read(path: string): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Cases that an adapter may skip, with its reason. */
export type Skips = Partial<Record<'kill' | 'metrics' | 'checkpoint', string>>;

const NATIVE = 'python:3.11';

/**
 * What every `Jobs` promises. Commands are plain sh: no Python, no network. Jobs talk to the test by files in their
 * checkpoint folder, the one place that both see while a job runs.
 */
export function jobsContract(on: string, open: () => Promise<JobsWorld>, skips: Skips = {}): void {
  describe(`jobs on ${on}`, () => {
    let world: JobsWorld;
    beforeEach(async () => {
      world = await open();
    });
    afterEach(() => world.close());

    const spec = (name: string, script: string, more: Partial<JobSpec> = {}): JobSpec => ({
      name,
      image: NATIVE,
      command: ['sh', '-c', script],
      env: {},
      inputs: [],
      outputs: [],
      resources: {},
      nodes: 1,
      deadlineSeconds: 60,
      ...more,
    });
    const end = (name: string) =>
      until(`${name} to end`, async () => {
        const job = await world.jobs.describe(world.call, name);
        return job && job.state !== 'pending' && job.state !== 'running' ? job : undefined;
      });
    const run = async (one: JobSpec): Promise<Job> => {
      await world.jobs.submit(world.call, one);
      return end(one.name);
    };
    const lines = async (name: string) => (await world.jobs.logs(world.call, name)).lines;

    test('a job runs to its end and tells when, with its log', async () => {
      const job = await run(spec('hello', 'echo one; echo two >&2; printf three'));
      expect(job).toMatchObject({ name: 'hello', state: 'succeeded', exitCode: 0, metrics: [] });
      expect(job.failure).toBeUndefined();
      expect(job.startedAt).toBeLessThanOrEqual(job.endedAt ?? 0);
      expect((await lines('hello')).filter((line) => !line.startsWith('stillflow:'))).toEqual([
        'one',
        'two',
        'three',
      ]);
    });

    test('a failing command fails the job with its code and the start of its failure file', async () => {
      const script = `i=0; while [ $i -lt 300 ]; do printf 'too hot '; i=$((i+1)); done > $SM_OUTPUT_DIR/failure; exit 7`;
      const job = await run(spec('fails', script));
      expect(job).toMatchObject({ state: 'failed', exitCode: 7 });
      expect(job.failure).toBe('too hot '.repeat(128));
    });

    test('a failing command without a failure file still says why', async () => {
      const job = await run(spec('silent', 'echo no such table; exit 3'));
      expect(job).toMatchObject({ state: 'failed', exitCode: 3 });
      expect(job.failure).toContain('3');
    });

    test('a program that is not there fails the job', async () => {
      const job = await run(spec('absent', 'no-such-program-anywhere'));
      expect(job).toMatchObject({ state: 'failed', exitCode: 127 });
    });

    test.skipIf(skips.checkpoint !== undefined)(
      'a name runs once, however often and with whatever spec it is submitted',
      async () => {
        const checkpoint = world.uri('once');
        const script = 'echo x >> $SM_CHECKPOINT_DIR/effect';
        const first = spec('once', script, { checkpoint });
        await Promise.all(Array.from({ length: 5 }, () => world.jobs.submit(world.call, first)));
        await end('once');
        const again = await world.jobs.submit(world.call, {
          ...first,
          command: ['sh', '-c', 'exit 9'],
        });
        expect(again.state).toBe('succeeded');
        expect(await world.read('once/effect')).toBe('x\n');
      },
    );

    test('prepare keeps the spec and starts nothing', async () => {
      const one = spec('kept', 'echo ran');
      const prepared = await world.jobs.prepare(world.call, one);
      expect(await world.jobs.prepare(world.call, one)).toEqual(prepared);
      expect(JSON.stringify(prepared).length).toBeLessThan(32_768);
      expect(await world.jobs.describe(world.call, 'kept')).toBeUndefined();
    });

    test('inputs are there before the start, outputs are put in place at the end', async () => {
      await world.put('data/a.csv', 'a,b\n1,2\n');
      await world.put('data/deep/b.csv', 'x');
      const job = await run(
        spec(
          'copy',
          'mkdir -p $O/deep; cp $SM_CHANNEL_TRAIN/a.csv $O/; cp $SM_CHANNEL_TRAIN/deep/b.csv $O/deep/',
          {
            command: [
              'sh',
              '-c',
              'O=$SM_OUTPUT_DIR/result; mkdir -p $O/deep; cp $SM_CHANNEL_TRAIN/a.csv $O/; cp $SM_CHANNEL_TRAIN/deep/b.csv $O/deep/; echo m > $SM_MODEL_DIR/weights',
            ],
            inputs: [{ name: 'train', uri: world.uri('data') }],
            outputs: [
              { name: 'result', uri: world.uri('out') },
              { name: 'model', uri: world.uri('models/1') },
            ],
          },
        ),
      );
      expect(job.failure).toBeUndefined();
      expect(await world.read('out/a.csv')).toBe('a,b\n1,2\n');
      expect(await world.read('out/deep/b.csv')).toBe('x');
      expect(await world.read('models/1/weights')).toBe('m\n');
    });

    test('a job whose input is not there fails and says which', async () => {
      const inputs = [{ name: 'train', uri: world.uri('nowhere') }];
      const job = await run(spec('inputless', 'echo ran', { inputs }));
      expect(job.state).toBe('failed');
      expect(job.failure).toContain('train');
      expect(await lines('inputless')).not.toContain('ran');
    });

    test.skipIf(skips.checkpoint !== undefined)(
      'the log can be read while the job runs, from where one left off',
      async () => {
        const script =
          'echo first; until [ -f $SM_CHECKPOINT_DIR/go ]; do sleep 0.05; done; echo second';
        await world.jobs.submit(
          world.call,
          spec('live', script, { checkpoint: world.uri('live') }),
        );
        const early = await until('the first line', async () => {
          const read = await world.jobs.logs(world.call, 'live');
          return read.lines.includes('first') ? read : undefined;
        });
        expect(await world.jobs.describe(world.call, 'live')).toMatchObject({ state: 'running' });
        await world.put('live/go', '');
        await end('live');
        const late = await world.jobs.logs(world.call, 'live', early.next);
        expect(late.lines).toEqual(['second']);
        const none = await world.jobs.logs(world.call, 'live', late.next);
        expect(none).toEqual({ lines: [], next: late.next });
      },
    );

    test('stop lets the command tidy up, and may be asked twice', async () => {
      const script = `trap 'echo bye > $SM_OUTPUT_DIR/result/last; exit 0' TERM; echo up; while :; do sleep 0.05; done`;
      const outputs = [{ name: 'result', uri: world.uri('stopped') }];
      await world.jobs.submit(world.call, spec('stops', script, { outputs }));
      await until('it to be up', async () => (await lines('stops')).includes('up') || undefined);
      await world.jobs.stop(world.call, 'stops');
      await world.jobs.stop(world.call, 'stops');
      expect(await end('stops')).toMatchObject({ state: 'stopped' });
      await world.jobs.stop(world.call, 'stops');
      expect(await world.read('stopped/last')).toBe('bye\n');
    });

    test.skipIf(skips.kill !== undefined)('one that will not stop is killed', async () => {
      await world.jobs.submit(
        world.call,
        spec('stubborn', `trap '' TERM; echo up; while :; do sleep 0.05; done`),
      );
      await until('it to be up', async () => (await lines('stubborn')).includes('up') || undefined);
      await world.jobs.stop(world.call, 'stubborn');
      expect(await end('stubborn')).toMatchObject({ state: 'stopped' });
    });

    test('a job past its deadline fails and says so', async () => {
      const job = await run(spec('late', 'while :; do sleep 0.05; done', { deadlineSeconds: 1 }));
      expect(job.state).toBe('failed');
      expect(job.failure).toMatch(/deadline/);
    });

    test.skipIf(skips.metrics !== undefined)(
      'metrics are read off the log, and a runaway expression does no harm',
      async () => {
        const metrics = [
          { name: 'loss', regex: 'loss=([0-9.]+)' },
          { name: 'hang', regex: '^(a+)+$' },
        ];
        const script = `echo loss=0.5; echo step 2 loss=0.25; echo ${'a'.repeat(60)}b; echo loss=none`;
        const job = await run(spec('metric', script, { metrics }));
        expect(job.metrics.map(({ name, value }) => [name, value])).toEqual([
          ['loss', 0.5],
          ['loss', 0.25],
        ]);
      },
    );

    test.skipIf(skips.checkpoint !== undefined)(
      'a checkpoint survives into a later job',
      async () => {
        const checkpoint = world.uri('ckpt');
        await run(spec('epoch-1', 'echo 1 > $SM_CHECKPOINT_DIR/step', { checkpoint }));
        const script = 'cat $SM_CHECKPOINT_DIR/step';
        await run(spec('epoch-2', script, { checkpoint }));
        expect(await lines('epoch-2')).toContain('1');
      },
    );

    test.skipIf(skips.checkpoint !== undefined)(
      'many nodes run at once, each with its rank',
      async () => {
        const script =
          'touch $SM_CHECKPOINT_DIR/up-$RANK; for r in 0 1 2; do until [ -f $SM_CHECKPOINT_DIR/up-$r ]; do sleep 0.05; done; done; ' +
          'echo $RANK/$WORLD_SIZE $SM_CURRENT_HOST > $SM_OUTPUT_DIR/result/$RANK';
        const outputs = [{ name: 'result', uri: world.uri('ranks') }];
        const checkpoint = world.uri('meet');
        const job = await run(spec('ranks', script, { nodes: 3, outputs, checkpoint }));
        expect(job.failure).toBeUndefined();
        const said = await Promise.all([0, 1, 2].map((rank) => world.read(`ranks/${rank}`)));
        expect(said.map((text) => text?.split(' ')[0])).toEqual(['0/3', '1/3', '2/3']);
        expect(new Set(said.map((text) => text?.split(' ')[1])).size).toBe(3);
      },
    );

    test('when one node fails the others end too', async () => {
      const script = 'if [ $RANK = 1 ]; then exit 4; fi; while :; do sleep 0.05; done';
      const job = await run(spec('half', script, { nodes: 2 }));
      expect(job).toMatchObject({ state: 'failed', exitCode: 4 });
    });

    test('the command sees its variables and none of the server’s', async () => {
      process.env['STILLFLOW_TEST_SECRET'] = 'do-not-leak';
      try {
        await run(spec('env', 'env; echo "[$GREETING]"', { env: { GREETING: 'a "b" $c' } }));
      } finally {
        delete process.env['STILLFLOW_TEST_SECRET'];
      }
      const said = await lines('env');
      expect(said).toContain('[a "b" $c]');
      expect(said.join('\n')).not.toContain('do-not-leak');
    });

    const bad: [string, Partial<JobSpec>, string][] = [
      ['a name with a path in it', { name: '../../etc' }, 'name'],
      ['a name that is too long', { name: 'x'.repeat(55) }, 'name'],
      ['no command', { command: [] }, 'command'],
      ['a NUL in the command', { command: ['sh', 'a\0b'] }, 'command.1'],
      ['an argument that Linux cannot pass', { command: ['sh', 'x'.repeat(140_000)] }, 'command.1'],
      ['a variable that is none', { env: { 'A=B': '1' } }, 'env.A=B'],
      ['no nodes', { nodes: 0 }, 'nodes'],
      ['a reserved output', { outputs: [{ name: 'failure', uri: 'x' }] }, 'outputs.0.name'],
      ['a channel with a path in it', { inputs: [{ name: '../x', uri: 'x' }] }, 'inputs.0.name'],
      ['a folder of somebody else', { outputs: [{ name: 'x', uri: '/etc' }] }, 'uri'],
      [
        'an expression without a group',
        { metrics: [{ name: 'm', regex: 'x' }] },
        'metrics.0.regex',
      ],
      ['an image nobody can run', { image: 'ghcr.io/acme/train:1', command: ['/train'] }, 'image'],
    ];
    test.each(bad)('%s is refused and leaves nothing', async (_, more, field) => {
      const one = spec('bad', 'true', more);
      for (const ask of [world.jobs.submit, world.jobs.prepare]) {
        const error = await ask(world.call, one).catch((cause: unknown) => cause);
        expect(error).toBeInstanceOf(Problem);
        expect(error).toMatchObject({ code: 'invalid', field });
      }
      if (one.name === 'bad') expect(await world.jobs.describe(world.call, 'bad')).toBeUndefined();
    });

    test('unknown jobs are undefined, silent, and may be stopped', async () => {
      expect(await world.jobs.describe(world.call, 'nobody')).toBeUndefined();
      expect((await world.jobs.logs(world.call, 'nobody')).lines).toEqual([]);
      await world.jobs.stop(world.call, 'nobody');
    });

    test('a workspace does not see another one’s jobs', async () => {
      await run(spec('mine', 'echo secret'));
      expect(await world.jobs.describe(world.stranger, 'mine')).toBeUndefined();
      expect((await world.jobs.logs(world.stranger, 'mine')).lines).toEqual([]);
    });

    test.skipIf(skips.checkpoint !== undefined)(
      'whatever is asked in whatever order, a name has one effect and one end',
      async () => {
        let round = 0;
        const step = fc.record({
          ask: fc.constantFrom('submit', 'describe', 'stop', 'logs'),
          name: fc.constantFrom('a', 'b'),
          code: fc.constantFrom(0, 5),
        });
        await fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
            round += 1;
            const first = new Map<string, { code: number; stopped: boolean }>();
            const named = (name: string) => `p${round}${name}`;
            for (const { ask, name, code } of steps) {
              const job = named(name);
              if (ask === 'submit') {
                const script = `echo x >> $SM_CHECKPOINT_DIR/${job}; exit ${code}`;
                await world.jobs.submit(
                  world.call,
                  spec(job, script, { checkpoint: world.uri('p') }),
                );
                if (!first.has(job)) first.set(job, { code, stopped: false });
              } else if (ask === 'stop') {
                await world.jobs.stop(world.call, job);
                const known = first.get(job);
                if (known) known.stopped = true;
              } else if (ask === 'logs') await world.jobs.logs(world.call, job);
              else
                expect((await world.jobs.describe(world.call, job)) === undefined).toBe(
                  !first.has(job),
                );
            }
            for (const [job, { code, stopped }] of first) {
              const { state } = await end(job);
              const wanted = code === 0 ? 'succeeded' : 'failed';
              expect(stopped ? [wanted, 'stopped'] : [wanted]).toContain(state);
              const effect = (await world.read(`p/${job}`)) ?? '';
              if (state === 'stopped') expect(['', 'x\n']).toContain(effect);
              else expect(effect).toBe('x\n');
            }
          }),
          { numRuns: 8 },
        );
      },
    );
  });
}

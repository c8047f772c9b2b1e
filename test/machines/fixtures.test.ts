import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { type Fixture, fixtures } from './fixtures.ts';
import { call, rig } from './rig.ts';

/** It has no types of its own. */
const validate = createRequire(import.meta.url)('asl-validator') as (definition: unknown) => {
  isValid: boolean;
  errors: unknown[];
};

describe('every fixture', () => {
  test.each(fixtures.map((fixture) => [fixture.name, fixture] as const))(
    'is valid ASL to another reader: %s',
    (_name, { definition }: Fixture) => {
      const { isValid, errors } = validate(definition);
      expect(errors).toEqual([]);
      expect(isValid).toBe(true);
    },
  );

  test.each(fixtures.map((fixture) => [fixture.name, fixture] as const))(
    'ends as written down: %s',
    async (_name, { definition, input = {}, expected }: Fixture) => {
      const it = await rig();
      const { state, output, error } = await it.run(definition, input);
      expect({ state, output, error }).toEqual({
        state: expected.state,
        output: expected.output,
        error: expected.error,
      });
      const history = await it.machines.history(call, 'm', 'e1');
      expect(history.map(({ id }) => id)).toEqual(history.map((_, i) => i + 1));
      expect([...it.table.items.keys()].filter((key) => /\0XO#|\0N#/.test(key))).toEqual([]);
    },
  );
});

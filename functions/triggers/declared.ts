import { Problem, unlessMissing } from '../kernel/problem.ts';
import { type Declared, declaration } from '../room.ts';
import { RuleAsked, RuleName } from './model.ts';
import { sameRule, type TriggerService } from './service.ts';

/** Rules that a stack or an app's folder declares. */
export const declaredRules = (
  triggers: Pick<TriggerService, 'get' | 'put' | 'remove'>,
): Declared => ({
  async put(call, named, declared, first) {
    const name = declaration(RuleName, named);
    const asked = declaration(RuleAsked, declared);
    const before = first ? await triggers.get(call, name).catch(unlessMissing) : undefined;
    if (before && !sameRule(before.rule, asked))
      throw new Problem(
        'exists',
        `A rule named '${name}' is there already and says something else: delete it, or declare another name.`,
        { field: 'name' },
      );
    await triggers.put(call, name, asked);
    return {};
  },

  async remove(call, name) {
    await triggers.remove(call, name).catch(unlessMissing);
  },
});

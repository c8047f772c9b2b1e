import { isDeepStrictEqual } from 'node:util';
import type { Call } from '../kernel/call.ts';
import type { Told } from '../kernel/event.ts';
import { isMissing, Problem, unlessMissing } from '../kernel/problem.ts';
import { queryAll, type Table } from '../platform/ports.ts';
import { type Declared, declaration } from '../room.ts';
import { AliasMoved, EndpointAsked, EndpointName, readModelUri } from './model.ts';
import type { ServingService } from './service.ts';

/**
 * Endpoints that a stack or an app's folder declares. One that follows an alias may be declared before its model is
 * trained: it waits in the table, and is deployed when the alias is set for the first time.
 */
export function declaredEndpoints(
  serving: Pick<ServingService, 'get' | 'deploy' | 'remove'>,
  table: Table,
) {
  const key = (name: string) => ({ pk: 'S#waiting', sk: name });
  const subject = (name: string) => `endpoints/${name}`;

  const declared: Declared = {
    async put(call, named, asked, first) {
      const name = declaration(EndpointName, named);
      const wanted = declaration(EndpointAsked, asked);
      const before = first ? await serving.get(call, name).catch(unlessMissing) : undefined;
      if (before && !says(before.endpoint, wanted))
        throw new Problem(
          'exists',
          `An endpoint named '${name}' is there already and says something else: delete it, or declare another name.`,
          { field: 'name' },
        );
      const { name: model, alias } = readModelUri(wanted.model);
      // Before it is tried, so that an alias set in between finds it here.
      if (alias !== undefined)
        await table.commit(call, [{ put: { ...key(name), ...wanted } }], {
          type: 'serving.endpoint.declared',
          subject: subject(name),
          data: { endpoint: name, model: wanted.model },
        });
      try {
        await serving.deploy(call, name, wanted);
      } catch (error) {
        if (alias === undefined || !isMissing(error)) throw error;
        return { waitsFor: `${model}@${alias}` };
      }
      await table.commit(call, [{ remove: key(name) }]);
      return {};
    },

    async remove(call, name) {
      await table.commit(call, [{ remove: key(name) }]);
      await serving.remove(call, name).catch(unlessMissing);
    },
  };

  /** Hears `registry.alias.set`: deploys what waited for it. */
  async function follow(call: Call, told: Told): Promise<void> {
    const { name: model, alias } = AliasMoved.parse(told.data);
    for await (const item of queryAll(table, call, { pk: 'S#waiting' })) {
      const asked = EndpointAsked.parse({ model: item['model'], scale: item['scale'] });
      const waits = readModelUri(asked.model);
      if (waits.name !== model || waits.alias !== alias) continue;
      await serving.deploy(call, item.sk, asked);
      await table.commit(call, [{ remove: key(item.sk) }]);
    }
  }
  return { declared, follow };
}

const says = ({ model, scale }: EndpointAsked, asked: EndpointAsked): boolean =>
  model === asked.model && isDeepStrictEqual({ ...scale }, { ...asked.scale });

import {
  InvokeEndpointCommand,
  ModelError,
  type SageMakerRuntimeClient,
} from '@aws-sdk/client-sagemaker-runtime';
import type { Call } from '../../kernel/call.ts';
import { Problem } from '../../kernel/problem.ts';
import type { World } from '../../kernel/world.ts';
import { checkName } from '../job_spec.ts';
import type { Endpoints, InferenceAnswer, InferenceRequest } from '../ports.ts';
import { isAbsentOf } from './faults.ts';
import { componentName } from './hosting.ts';
import { cloudName } from './names.ts';

/**
 * The variant bears its revision's name, since its name is all that SageMaker says of who answered. A revision that is no
 * such name says nothing. Source: SageMaker API, ProductionVariant; InvokeEndpoint, x-Amzn-Invoked-Production-Variant.
 */
export const variantOf = (revision: string): string =>
  /^(?=.{1,61}$)[A-Za-z0-9](-*[A-Za-z0-9])*$/.test(revision) ? `r-${revision}` : 'all';

const answeredBy = (variant: string | undefined): { revision?: string } =>
  variant?.startsWith('r-') ? { revision: variant.slice(2) } : {};

/** Asks an endpoint, whatever its kind, and words what comes back in its place. */
export function invocations(
  runtime: () => SageMakerRuntimeClient,
  world: Pick<World, 'now'>,
): Endpoints['invoke'] {
  /** Endpoints of components are told by the refusal of a request that names none, once for each. */
  const held = new Set<string>();
  async function ask(call: Call, name: string, request: InferenceRequest) {
    const EndpointName = cloudName(call.workspace, name);
    const send = () =>
      runtime().send(
        new InvokeEndpointCommand({
          EndpointName,
          ...(held.has(EndpointName)
            ? { InferenceComponentName: componentName(call.workspace, name) }
            : {}),
          ContentType: request.contentType,
          Body: request.body,
        }),
        { abortSignal: AbortSignal.timeout(left(call)) },
      );
    try {
      return await send();
    } catch (error) {
      const known = held.has(EndpointName);
      if (!isOtherKind(error, known)) throw error;
      if (known) held.delete(EndpointName);
      else held.add(EndpointName);
      return send();
    }
  }

  /** SageMaker itself gives up after a minute. */
  const left = (call: Call) => Math.min(60_000, Math.max(1, call.deadline - world.now()));

  return async (call, name, request): Promise<InferenceAnswer> => {
    checkName(name);
    if (request.path !== '/invocations')
      throw new Problem('invalid', 'A SageMaker endpoint answers /invocations.', {
        field: 'path',
      });
    try {
      const answer = await ask(call, name, request);
      return {
        status: 200,
        contentType: answer.ContentType ?? 'application/json',
        body: answer.Body ?? new Uint8Array(),
        ...answeredBy(answer.InvokedProductionVariant),
      };
    } catch (error) {
      // The container's own refusal: its status and words are the model's answer.
      if (error instanceof ModelError && error.OriginalStatusCode && error.OriginalStatusCode < 500)
        return {
          status: error.OriginalStatusCode,
          contentType: 'application/json',
          body: Buffer.from(error.OriginalMessage ?? ''),
        };
      throw invocationProblem(error, name);
    }
  };
}

/** Source: SageMaker's ValidationError for an endpoint of components that is asked without one, and the other way round. */
const isOtherKind = (error: unknown, named: boolean): boolean =>
  error instanceof Error &&
  error.name.startsWith('Validation') &&
  !NO_CAPACITY.test(error.message) &&
  (named ? /inference component/i : /inference component.*required/is).test(error.message);
const NO_CAPACITY = /no capacity/i;

function invocationProblem(error: unknown, name: string): Problem {
  const said = error instanceof Error ? error : undefined;
  if (said && NO_CAPACITY.test(said.message))
    return new Problem(
      'unavailable',
      `Endpoint '${name}' slept and is being woken: some minutes.`,
      {
        cause: error,
        retryAfterSeconds: 60,
      },
    );
  if (isAbsentOf(error) || (said?.name === 'ValidationError' && /not found/i.test(said.message)))
    return new Problem('missing', `Endpoint '${name}' not found.`, { cause: error });
  if (said?.name === 'ThrottlingException')
    return new Problem('exhausted', `Endpoint '${name}' answers as many requests as it may.`, {
      cause: error,
      retryAfterSeconds: 1,
    });
  return new Problem('unavailable', `Endpoint '${name}' does not answer now.`, {
    cause: error,
    retryAfterSeconds: 5,
  });
}

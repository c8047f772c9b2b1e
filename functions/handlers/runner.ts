import { imageOf } from '../platform/aws/training.ts';
import type { JobSpec } from '../platform/ports.ts';
import type { Steps } from '../wire.ts';

/** Whether this account runs a command of an image; undefined is our pinned Python. Asked before a run is created. */
export const accountRuns: Steps['runsImage'] = (image) => {
  if (image === undefined) return { ok: true };
  const pulled = imageOf({ image, resources: {} } as JobSpec, 'eu-west-1');
  if (pulled === image) return { ok: true };
  if (pulled !== undefined)
    return {
      ok: true,
      warning: `Image '${image}' was not pulled: the command ran on AWS's published Python image.`,
    };
  return {
    refused: `image '${image}' is not in ECR, from which alone SageMaker pulls: push it there, or use a python image`,
  };
};

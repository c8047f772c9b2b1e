import { BatchGetImageCommand } from '@aws-sdk/client-ecr';
import { GetFunctionConfigurationCommand } from '@aws-sdk/client-lambda';
import { publishedImage } from '../../functions/platform/aws/training.ts';
import { type Check, fail, ok, skipped, type Verdict } from '../../local/doctor_checks.ts';
import { functionName } from '../../statemachines/resources.ts';
import type { Clients } from '../doctor-aws.ts';
import { isNamed } from './data.ts';
import type { Deployment } from './deployment.ts';

const IMAGE =
  /^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?\/([\w./-]+)(?::([\w.-]+)|@(sha256:[0-9a-f]{64}))$/;

/** The images that jobs and model servers run on can be had, from this account and in this region. */
export function imageChecks({ ecr, lambda, sts }: Clients, _: Deployment): Check[] {
  const region = () => sts.config.region();
  const reach = async (image: string): Promise<Verdict> => {
    const [, registryId, where, repositoryName, imageTag, imageDigest] = IMAGE.exec(image) ?? [];
    if (!registryId || !repositoryName)
      return fail(
        `${image} is no image in ECR`,
        'push it to ECR: SageMaker pulls from nowhere else',
      );
    if (where !== (await region()))
      return fail(
        `${image} lies in ${where}`,
        'push it to ECR in this region: SageMaker pulls from no other',
      );
    const id = imageDigest ? { imageDigest } : { imageTag };
    try {
      const told = await ecr.send(
        new BatchGetImageCommand({ registryId, repositoryName, imageIds: [id] }),
      );
      if (told.images?.length) return ok(`${image} can be pulled`);
      const [failure] = told.failures ?? [];
      return fail(
        `${image}: ${failure?.failureReason ?? 'not found'}`,
        'push it, or deploy with the tag that is there',
      );
    } catch (error) {
      if (!isNamed(error, 'RepositoryNotFoundException')) throw error;
      return fail(
        `there is no repository ${repositoryName} in ${registryId}`,
        'create it and push the image (docs/guides/deploy.md)',
      );
    }
  };
  return [
    {
      name: 'image of jobs',
      looksAt: 'ecr:BatchGetImage',
      run: async () => reach(publishedImage(await region(), 'cpu')),
    },
    {
      name: 'image of GPU jobs',
      looksAt: 'ecr:BatchGetImage',
      run: async () => reach(publishedImage(await region(), 'gpu')),
    },
    {
      name: 'image of model servers',
      looksAt: 'lambda:GetFunctionConfiguration, ecr:BatchGetImage',
      async run() {
        const FunctionName = functionName('deploy-start');
        const told = await lambda
          .send(new GetFunctionConfigurationCommand({ FunctionName }))
          .catch((error: unknown) => {
            if (isNamed(error, 'ResourceNotFoundException')) return undefined;
            throw error;
          });
        if (!told) return skipped(`${FunctionName}, which knows it, is not deployed`);
        const image = told.Environment?.Variables?.['STILLFLOW_SERVING_IMAGE'];
        return image
          ? reach(image)
          : skipped(
              'deployed without -c servingImage: nothing can be deployed to an endpoint, and whoever tries is told',
            );
      },
    },
  ];
}

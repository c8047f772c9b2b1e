import { Problem } from '../../kernel/problem.ts';

/** What is wrong with a spec, and where: names the node, so that its author finds it. */
export const refuse = (where: string, why: string): Problem =>
  new Problem('invalid', `Invalid pipeline spec: ${where}: ${why}`, { field: 'pipeline_spec' });

/** A feature of the IR that is understood but not compiled. */
export const notYet = (where: string, feature: string): Problem =>
  refuse(
    where,
    `${feature} is not supported yet. Remove it, or run this part outside the pipeline.`,
  );

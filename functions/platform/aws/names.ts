/** What all that is made at run time in an account starts with, so that roles can be held to it: lib/grants.ts. */
export const MADE = 'sf-';

/**
 * `sf-default0-train`: SageMaker takes 63 characters and Step Functions 80, so a job or an endpoint has 51 of its own
 * and a machine 68. An execution lies below its machine and has no prefix: its first 8 characters are its workspace.
 */
export const cloudName = (workspace: string, name: string): string => `${MADE}${workspace}-${name}`;

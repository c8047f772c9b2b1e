import { secured } from '../kernel/hallway.ts';
import { Problem } from '../kernel/problem.ts';
import { api } from './api.ts';
import { kfp } from './kfp.ts';
import { mlflow } from './mlflow.ts';

/** A dot segment, plain or encoded, before any URL parser resolves it away. */
const DOTS = /(^|\/|\\|%5c|%2f)(\.|%2e){1,2}(\/|\\|%5c|%2f|$)/i;

/**
 * The refusal of a request target that holds `.` or `..`, in the words of its wire; undefined if it holds none. URL
 * parsers would resolve it to another path than the one that was asked for, and answer for that.
 * Source: hardening.md A01, A03.
 */
export function refusedDots(target: string): Response | undefined {
  const path = target.split('?', 1)[0] ?? '';
  if (!DOTS.test(path)) return undefined;
  const wire = /^\/(ajax-)?api\/\d/.test(path) ? mlflow : path.startsWith('/apis/') ? kfp : api;
  return secured(
    wire.problem(
      new Problem('invalid', "Invalid path: it may not hold '.' or '..' segments.", {
        field: 'path',
      }),
    ),
  );
}

import type { Wording } from './words.ts';

/** HTTP status and `reason` of a Status object. Source: Kubernetes meta/v1 types.go, StatusReason. */
export const KUBE_WORDS = {
  invalid: [422, 'Invalid'],
  unauthenticated: [401, 'Unauthorized'],
  denied: [403, 'Forbidden'],
  missing: [404, 'NotFound'],
  exists: [409, 'AlreadyExists'],
  precondition: [422, 'Invalid'],
  conflict: [409, 'Conflict'],
  gone: [410, 'Expired'],
  too_large: [413, 'RequestEntityTooLarge'],
  media: [415, 'UnsupportedMediaType'],
  exhausted: [429, 'TooManyRequests'],
  unsupported: [405, 'MethodNotAllowed'],
  unavailable: [503, 'ServiceUnavailable'],
  internal: [500, 'InternalError'],
} as const satisfies Wording<string>;

import { pathSegments } from '../../kernel/path.ts';
import type { Blobs } from '../ports.ts';

/** How paths and URIs of a bucket name each other: pure, so that it costs no client. */
export function locations(bucket: string): Pick<Blobs, 'locate' | 'pathOf'> {
  return {
    locate: (call, prefix) => {
      const segments = pathSegments(prefix.replace(/\/$/, ''), 'prefix');
      return `s3://${bucket}/${call.workspace}/${segments.join('/')}`;
    },

    pathOf(call, uri) {
      const root = `s3://${bucket}/${call.workspace}/`;
      if (!uri.startsWith(root)) return undefined;
      try {
        return pathSegments(uri.slice(root.length).replace(/\/$/, ''), 'uri').join('/');
      } catch {
        return undefined;
      }
    },
  };
}

import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** 32 bytes of this installation's own, made once, readable by its user only. */
export function installationSecret(data: string): Uint8Array {
  const path = join(data, 'secret');
  try {
    writeFileSync(path, randomBytes(32), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const secret = readFileSync(path);
  if (secret.length !== 32) throw new Error(`${path} does not hold 32 bytes`);
  return secret;
}

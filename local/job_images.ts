import { basename } from 'node:path';
import { LAUNCHER } from '../functions/platform/job_spec.ts';
import type { JobSpec } from '../functions/platform/ports.ts';

/**
 * Images that need no engine: what they hold is what this machine and our pinned environment hold too, as long as
 * the command is Python's or a shell's. The name after the registry, without tag and digest.
 * Source: libraries.md section 1.5; kfp.md section 3.5 (what the corpus uses).
 */
const NATIVE: readonly { readonly name: RegExp; readonly venv: boolean }[] = [
  { name: /(^|\/)python$/, venv: true },
  { name: /(^|\/)ubi\d*\/python-\d+$/, venv: true },
  { name: /(^|\/)(alpine|busybox|bash)$/, venv: false },
];
const NAMES = 'python, UBI python, alpine, busybox or bash';
const PROGRAMS = /^(python(3(\.\d+)?)?|sh|bash|ash)$/;

export type Runnable =
  | { readonly ok: true; readonly venv: boolean; readonly warning?: string }
  | { readonly refused: string };

/** The repository's name: `docker.io/library/python:3.11@sha256:..` is `docker.io/library/python`. */
const repository = (image: string) => image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');

/**
 * Whether this machine runs a command of an image (undefined: our pinned Python), and with which warning; or why not.
 * The pipelines room asks it when a run is created, so that nothing is refused half-way.
 */
export function runsImage(image: string | undefined, command: readonly string[]): Runnable {
  if (image === undefined) return { ok: true, venv: true };
  const native = NATIVE.find(({ name }) => name.test(repository(image)));
  if (!native)
    return {
      refused: `image '${image}' needs a container engine, and this machine's server runs none: use an image of ${NAMES}, or run it in an account`,
    };
  const program = command[0] ?? '';
  if (program === LAUNCHER) return { ok: true, venv: true };
  if (!PROGRAMS.test(basename(program)))
    return {
      refused: `image '${image}' is not pulled here, and its command '${program.slice(0, 60)}' is not one of python3, sh or bash: begin it with one of these, or run it in an account`,
    };
  const warning = `Image '${image}' was not pulled: the command ran on this machine${native.venv ? ' in the pinned Python environment' : ''}.`;
  return { ok: true, venv: native.venv || /^python/.test(basename(program)), warning };
}

/** As `runsImage`, with the resources too. `accelerators`: how many this machine has. */
export function runsSpec(spec: JobSpec, accelerators: number): Runnable {
  const asked = spec.resources.accelerator?.count ?? 0;
  if (asked > accelerators)
    return {
      refused: `it asks for ${asked} accelerators of type '${spec.resources.accelerator?.type}', and this machine has ${accelerators}`,
    };
  return runsImage(spec.image, spec.command);
}

/** Temporary directories for tests against the real system, and the way out of them. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { errnoOf } from '../../src/base/errors.js';

export interface TemporaryDirectory {
  readonly path: string;
  /** Unmounts whatever a failed test left below it, then deletes it. */
  remove(): void;
}

/** Resolved, because the mount table knows only real paths. */
export function temporaryDirectory(): TemporaryDirectory {
  const made = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'stratalog-host-')));
  return {
    path: made,
    remove: () => {
      for (const mountpoint of mountpointsBelow(made).reverse()) {
        execFileSync('umount', ['-l', mountpoint]);
      }
      fs.rmSync(made, { recursive: true, force: true });
    },
  };
}

/** Read without the code under test. The names that tests use need no unescaping. */
export function mountpointsBelow(directory: string): string[] {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountpoint) => mountpoint.startsWith(`${directory}/`));
}

/** The errno name that a promise or a call fails with, and `none` when it does not. */
export async function codeOf(attempt: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof attempt === 'function' ? attempt() : attempt);
    return 'none';
  } catch (error) {
    return errnoOf(error) ?? String(error);
  }
}

export function modeOf(file: string): string {
  return (fs.lstatSync(file).mode & 0o7777).toString(8);
}

/**
 * Roots to ask about: the golden log of v0.1.0 on this machine's file system, with directories
 * next to it that give `inspect`, `gc` and `who` something to report.
 */
import { cp, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { repository } from '../../../scripts/rig/daemon.js';
import { aDirectory, stratalog, type Outcome } from '../../cli/rig.js';

export const goldenRoot = join(repository, 'test/golden/v0.1.0/root');

/** Two cores are the smallest machine this is meant for. */
const slots = pLimit(2);

/** The built command to its end, when a core is free. */
export const runCommand = (args: readonly string[]): Promise<Outcome> =>
  slots(() => stratalog(args));

export async function succeed(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(args);
  if (code !== 0) throw new Error(`stratalog ${args.join(' ')} exits ${code}: ${stderr}`);
  return stdout;
}

export class Fixture {
  #copies = 0;

  private constructor(
    /** Everything below it is removed by `cleanUp` of the rig. */
    readonly directory: string,
    /** Only for commands that do not write. */
    readonly root: string,
    /** The same with one flipped bit in the middle of the log. */
    readonly damagedRoot: string,
    readonly exportFile: string,
  ) {}

  static async create(): Promise<Fixture> {
    const directory = await aDirectory();
    const exportFile = join(directory, 'log.tar');
    await succeed('export', '--root', goldenRoot, '--format', 'tar', '-o', exportFile);
    // The golden root names a file system that is not this machine's, and commands that write
    // refuse it; an import keeps the log, byte for byte, and records this machine's.
    const root = join(directory, 'root');
    await succeed('import', exportFile, '--root', root);
    await makeDirectories(root);
    const damagedRoot = join(directory, 'damaged');
    await cp(root, damagedRoot, { recursive: true });
    await damage(damagedRoot);
    return new Fixture(directory, root, damagedRoot, exportFile);
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** A root of its own for a command that writes. */
  async copyOf(root: string): Promise<string> {
    this.#copies += 1;
    const parent = this.path(`copy-${this.#copies}`);
    await mkdir(parent);
    const copy = join(parent, 'root');
    await cp(root, copy, { recursive: true });
    return copy;
  }
}

/** 2, 4 and 7 are snapshots of the log, 9 was set aside and released in it, 20 and 21 are unknown. */
async function makeDirectories(root: string): Promise<void> {
  const directories = ['2/fs', '4/fs', '4/work', '7/fs', '9/fs', '20/fs', '21/fs'];
  for (const path of directories) await mkdir(join(root, 'snapshots', path), { recursive: true });
  for (const id of [2, 9, 21]) {
    await writeFile(join(root, 'snapshots', String(id), 'fs/hosts'), '127.0.0.1 localhost\n');
  }
}

/** Flips a bit of the last segment but one: records follow that are still sound. */
async function damage(root: string): Promise<void> {
  const log = join(root, 'log');
  const segments = (await readdir(log)).filter((name) => name.endsWith('.seg')).sort();
  const path = join(log, segments.at(-2) ?? '');
  const bytes = await readFile(path);
  const middle = Math.floor(bytes.length / 2);
  bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
  await writeFile(`${path}.new`, bytes);
  await rename(`${path}.new`, path);
}

let shared: Promise<Fixture> | null = null;

/** One fixture for all parts that only read it. */
export function sharedFixture(): Promise<Fixture> {
  shared ??= Fixture.create();
  return shared;
}

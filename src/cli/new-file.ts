/** Where a command writes what is not meant for a screen: a file that was not there, or stdout. */
import { open, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, reasonOf, UsageError } from '../base/errors.js';
import { OutputClosed } from './output-closed.js';

export interface Sink {
  write(chunk: string | Uint8Array): Promise<void>;
}

/**
 * Runs with the file of this name, or with stdout when none is named. A file is never
 * overwritten; it is durable when this resolves, and taken away again when the work fails.
 *
 * @throws UsageError when something of this name is there
 */
export async function withSink<Value>(
  path: string | undefined,
  use: (sink: Sink) => Promise<Value>,
): Promise<Value> {
  if (path === undefined || path === '-') return use(stdoutSink());
  const file = await newFile(path);
  let isDone = false;
  try {
    const value = await use({
      write: async (chunk) => {
        await file.writeFile(chunk);
      },
    });
    await file.sync();
    isDone = true;
    return value;
  } finally {
    await file.close();
    if (isDone) await syncDirectory(dirname(path));
    else await rm(path, { force: true });
  }
}

async function newFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx', 0o600);
  } catch (cause) {
    const why =
      errnoOf(cause) === 'EEXIST'
        ? 'is there already, and nothing is ever overwritten: choose another name'
        : `cannot be made: ${reasonOf(cause)}`;
    throw new UsageError(`${path} ${why}`, { cause });
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function stdoutSink(): Sink {
  let failure: Error | null = null;
  process.stdout.on('error', (fault) => {
    failure ??= errnoOf(fault) === 'EPIPE' ? new OutputClosed() : fault;
  });
  return {
    write: async (chunk) => {
      await new Promise<void>((resolve) => {
        process.stdout.write(chunk, () => {
          resolve();
        });
      });
      if (failure !== null) throw failure;
    },
  };
}

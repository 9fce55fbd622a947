/** Slots for roots, and what stands in them: made for one test file, and taken away after it. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { newSnapshotter, type SnapshotterApi } from '../../src/api/library.js';
import { streamVersion } from '../../src/base/units.js';
import { systemClock } from '../../src/host/process/clock.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { openLog } from '../../src/log/log.js';
import type { Answer } from './case.js';
import { EXIT, exitCodeOf } from '../../src/cli/exit-codes.js';
import { errnoHint } from '../../src/base/errno-hints.js';
import { reasonOf } from '../../src/base/errors.js';

/** One test file's directory, with the mounts that were made in it. */
export class Rooms {
  readonly path = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'stratalog-hostile-')));
  readonly #closing: (() => unknown)[] = [];
  #count = 0;

  /** A new, empty directory. */
  directory(name = 'room'): string {
    const made = path.join(this.path, `${name}-${(this.#count += 1)}`);
    fs.mkdirSync(made);
    return made;
  }

  mount(type: string, options: string, at = this.directory(type), source = type): string {
    execFileSync('mount', ['-t', type, '-o', options, source, at]);
    this.#closing.push(() => execFileSync('umount', ['-l', at]));
    return at;
  }

  readOnly(directory: string): void {
    execFileSync('mount', ['--bind', directory, directory]);
    this.#closing.push(() => execFileSync('umount', ['-l', directory]));
    execFileSync('mount', ['-o', 'remount,bind,ro', directory]);
  }

  copyOf(directory: string): string {
    const copy = path.join(this.directory('copy'), 'root');
    execFileSync('cp', ['-a', directory, copy]);
    return copy;
  }

  later(close: () => unknown): void {
    this.#closing.push(close);
  }

  async close(): Promise<void> {
    for (const close of this.#closing.splice(0).reverse()) await close();
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}

/** A sound root of several segments, made without a daemon: two committed snapshots, many labels. */
export async function makeRoot(root: string, segmentBytes = 4096): Promise<void> {
  const { log } = await openLog({
    root,
    disk: systemDisk(),
    clock: systemClock(),
    uuid: randomUUID,
    writtenBy: 'stratalog 0.1.0',
    segmentBytes,
    onCheckpoint: () => Promise.resolve(),
    onRecords: () => undefined,
    onWarning: () => undefined,
  });
  const caller = {};
  for (const id of [1, 2]) {
    const steps = [
      { type: 'SnapshotPreparing', data: preparing(id, caller) },
      { type: 'SnapshotPrepared', data: {} },
      ...Array.from({ length: 10 }, (_, index) => ({
        type: 'LabelsUpdated',
        data: { labels: { n: `${index}`, filler: 'x'.repeat(600) }, caller },
      })),
    ];
    for (const [version, { type, data }] of steps.entries()) {
      const where = { stream: `snapshot-${id}`, expectedVersion: streamVersion(version) };
      await log.append([{ ...where, type, schemaVersion: 1, data }], { sync: true }).durable;
    }
    fs.mkdirSync(`${root}/snapshots/${id}/fs`, { recursive: true });
    fs.mkdirSync(`${root}/snapshots/${id}/work`, { recursive: true });
  }
  await log.close();
}

const preparing = (id: number, caller: object) => ({
  ...{
    id,
    kind: 'active',
    key: `key-${id}`,
    parent: null,
    labels: {},
    remote: null,
    idMapping: null,
    caller,
  },
});

/** Opens a root as a program that embeds Stratalog does, and answers as the command would. */
export async function open(
  root: string,
  use: (snapshotter: SnapshotterApi, warnings: readonly string[]) => Promise<unknown> = () =>
    Promise.resolve(),
): Promise<Answer> {
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  let snapshotter: SnapshotterApi;
  try {
    snapshotter = await newSnapshotter({ root, fileSystem: null, onWarning });
  } catch (thrown) {
    return { code: exitCodeOf(thrown), message: `${reasonOf(thrown)}${errnoHint(thrown)}` };
  }
  try {
    await snapshotter.recovered;
    await use(snapshotter, warnings);
  } finally {
    await snapshotter.close();
  }
  return { code: EXIT.ok, message: warnings.join('\n') };
}

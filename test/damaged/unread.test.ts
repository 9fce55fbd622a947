/**
 * Goal: what the disk does not give now is not taken for damaged or absent: nothing that acts on
 * what is missing goes on. Method: a disk in memory that fails one kind of call on one file.
 */
import { describe, expect, it } from 'vitest';
import { HostFault } from '../../src/base/errors.js';
import type { DiskFile } from '../../src/base/ports.js';
import { exportAsTar } from '../../src/export/export-tar.js';
import { identityPath, logDirectory } from '../../src/log/files.js';
import { readJournal } from '../../src/repair/repair-journal.js';
import { FaultyDisk, type DiskOperation } from '../support/faulty-disk.js';
import { planFor, ROOT, writeSound } from './rig.js';

const CHECKPOINT = `${logDirectory(ROOT)}/00000000000000000016.checkpoint`;

/** Also what is opened to be read can fail. */
class UnreadDisk extends FaultyDisk {
  override open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    const fault = mode === 'read' ? this.plan('open', path) : undefined;
    if (fault?.kind === 'fail') return Promise.reject(new HostFault('open', path, fault.code));
    return super.open(path, mode);
  }
}

async function aLog(): Promise<UnreadDisk> {
  const disk = new UnreadDisk();
  await writeSound(ROOT, disk, { checkpoints: [16], retireBefore: 16 });
  return disk;
}

function failing(disk: FaultyDisk, failed: DiskOperation, path: string, code = 'EIO'): void {
  disk.plan = (operation, on) =>
    operation === failed && on === path ? { kind: 'fail', code } : undefined;
}

async function faultOf(work: Promise<unknown>): Promise<unknown> {
  const thrown: unknown = await work.then(
    () => null,
    (fault: unknown) => fault,
  );
  return thrown instanceof HostFault ? { path: thrown.path, code: thrown.code } : thrown;
}

async function exported(disk: FaultyDisk): Promise<void> {
  const query = { release: 'stratalog 0.1.0', exported: 'now', modified: new Date(0) };
  const damageAtEnd = () => Promise.resolve(null);
  let bytes = 0;
  for await (const piece of exportAsTar(disk, ROOT, { ...query, damageAtEnd }))
    bytes += piece.length;
  expect(bytes).toBeGreaterThan(0);
}

describe.each(['open', 'read'] as const)('a checkpoint that fails to %s', (operation) => {
  it('is not taken out by a repair, which fails instead', async () => {
    const disk = await aLog();
    failing(disk, operation, CHECKPOINT);
    expect(await faultOf(planFor(ROOT, disk))).toEqual({ path: CHECKPOINT, code: 'EIO' });
    disk.plan = () => undefined;
    expect(await planFor(ROOT, disk)).toMatchObject({ plan: { kind: 'sound' } });
  });

  it('does not make a log without an identity one that nobody can name', async () => {
    const disk = await aLog();
    await disk.remove(identityPath(ROOT));
    for (const name of await disk.list(logDirectory(ROOT))) {
      if (name.endsWith('.seg')) await disk.remove(`${logDirectory(ROOT)}/${name}`);
    }
    failing(disk, operation, CHECKPOINT);
    expect(await faultOf(planFor(ROOT, disk))).toEqual({ path: CHECKPOINT, code: 'EIO' });
  });

  it('is not left out of an export unsaid', async () => {
    const disk = await aLog();
    failing(disk, operation, CHECKPOINT);
    expect(await faultOf(exported(disk))).toEqual({ path: CHECKPOINT, code: 'EIO' });
  });
});

it('a checkpoint that is no file at all is taken out, and left out', async () => {
  const disk = await aLog();
  failing(disk, 'open', CHECKPOINT, 'EISDIR');
  expect(await faultOf(exported(disk))).toBeNull();
  expect((await planFor(ROOT, disk)).plan.kind).not.toBe('sound');
});

it('a repair that was begun is not begun anew because its list cannot be read', async () => {
  const disk = await aLog();
  failing(disk, 'read', identityPath(ROOT));
  expect(await faultOf(readJournal(disk, ROOT))).toEqual({
    path: identityPath(ROOT),
    code: 'EIO',
  });
  failing(disk, 'open', identityPath(ROOT), 'EISDIR');
  expect(await readJournal(disk, ROOT)).toBeNull();
});

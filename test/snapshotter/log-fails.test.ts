/** When the log cannot be written, whoever waits is told at once; what was told before holds. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HostFault, LogReadOnly } from '../../src/base/errors.js';
import type { Disk } from '../../src/base/ports.js';
import { TestDaemon, testRoot, told, until, type TestRoot } from '../support/daemon.js';
import { diskBeforeWrites } from '../support/disk-before-writes.js';

let root: TestRoot;
beforeEach(() => {
  root = testRoot();
});
afterEach(() => root.remove());

/** A disk whose durable writes fail once the switch is thrown. */
function failingDisk(): { readonly break: () => void; readonly of: (real: Disk) => Disk } {
  let isBroken = false;
  return {
    break: () => {
      isBroken = true;
    },
    of: diskBeforeWrites((path) => {
      if (isBroken) throw new HostFault('write', path, 'EIO');
    }),
  };
}

it('answers a Prepare and a Commit in flight, refuses later changes, and goes on reading', async () => {
  const disk = failingDisk();
  const daemon = await TestDaemon.open(root, { disk: disk.of });
  expect(told(await daemon.prepare('kept'))).toBe('ok');
  disk.break();
  const answers = await Promise.allSettled([
    daemon.prepare('lost'),
    daemon.commit('kept', 'layer'),
  ]);
  for (const answer of answers) {
    expect(answer.status).toBe('rejected');
    if (answer.status === 'rejected') expect(answer.reason).toBeInstanceOf(LogReadOnly);
  }
  await expect(daemon.prepare('later')).rejects.toBeInstanceOf(LogReadOnly);
  expect([...allNames(daemon)]).toEqual(['kept']);
  await daemon.crash();
  const again = await TestDaemon.open(root);
  expect([...allNames(again)]).toEqual(['kept']);
  await again.close();
});

it('gives the root back though directories that were made ahead are left', async () => {
  const disk = failingDisk();
  const daemon = await TestDaemon.open(root, { disk: disk.of, preallocatedDirectories: 4 });
  expect(told(await daemon.prepare('kept'))).toBe('ok');
  await until('the spares stand', async () => {
    const reserved = await daemon.eventsOfType('DirectoriesPreallocated');
    return reserved.length > 0 && daemon.snapshotter.actors().length === 0;
  });
  disk.break();
  await expect(daemon.commit('kept', 'lost')).rejects.toBeInstanceOf(LogReadOnly);
  await expect(daemon.close()).rejects.toBeInstanceOf(LogReadOnly);
  daemon.fileSystem.release();
  const again = await TestDaemon.open(root);
  expect([...allNames(again)]).toEqual(['kept']);
  await again.close();
});

function* allNames(daemon: TestDaemon): Iterable<string> {
  const listed = daemon.snapshotter.list([]);
  if (listed.ok) for (const { name } of listed.value) yield name;
}

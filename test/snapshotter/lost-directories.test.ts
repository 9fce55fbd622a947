/**
 * Goal: what was deleted by hand while the daemon was down is found and made anew, or told: a
 * directory that is there and has lost its `fs` or its `work` is found behind the first answer,
 * in a further RecoveryPlanned; a child whose parent is lost too gets its directory all the same.
 * Method: real directories, deleted between two lives.
 */
import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { SnapshotDirectories } from '../../src/base/ports.js';
import { startupPlan } from '../../src/inspect/startup/startup-plan.js';
import { replayRoot } from '../../src/inspect/archive/replay-root.js';
import { TestDaemon, testRoot, told, until, valueOf, type TestRoot } from '../support/daemon.js';

let root: TestRoot;
let daemon: TestDaemon;

beforeEach(async () => {
  root = testRoot();
  daemon = await TestDaemon.open(root);
});

afterEach(async () => {
  expect(daemon.fatal).toEqual([]);
  await daemon.close();
  root.remove();
});

/** What each start of this log has planned, in order: kind and subject. */
async function planned(): Promise<readonly string[][]> {
  const events = await daemon.eventsOfType('RecoveryPlanned');
  return events.map(({ data }) => {
    const { findings } = data as {
      readonly findings: readonly { readonly kind: string; readonly subject: string }[];
    };
    return findings.map(({ kind, subject }) => `${kind} ${subject}`);
  });
}

const recreated = async () =>
  (await daemon.eventsOfType('DirectoryRecreated')).map(({ data }) => data);

async function inspected(): Promise<readonly string[]> {
  const { host } = daemon;
  const { replay } = await replayRoot(host.disk, root.path);
  const snapshotsPath = root.snapshots;
  const plan = await startupPlan(replay.forest, { ...host, snapshotsPath, isLive: false });
  return plan.findings.map(({ kind }) => kind);
}

/** Answers a full look when it is let go of. */
function heldLook(): {
  readonly directories: (real: SnapshotDirectories) => SnapshotDirectories;
  letGo(): void;
} {
  let letGo: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  return {
    directories: (real) => ({
      ...real,
      list: async (signal, query) => {
        if (query?.namesOnly !== true) await held;
        return real.list(signal, query);
      },
    }),
    letGo: () => letGo(),
  };
}

it('serves before it has looked into directories, then tells what lacks its fs', async () => {
  valueOf(await daemon.prepare('a'));
  await daemon.layer('layer');
  await daemon.close();
  fs.rmSync(daemon.fs(1), { recursive: true });
  fs.rmSync(daemon.fs(2), { recursive: true });
  const look = heldLook();
  daemon = await TestDaemon.open(root, { directories: look.directories, recovers: false });
  const recovered = daemon.assembled.recover();
  expect(daemon.list()).toEqual(['a', 'layer']);
  expect(told(await daemon.prepare('b'))).toBe('ok');
  expect(await planned()).toEqual([]);
  look.letGo();
  await recovered;
  expect(await recreated()).toEqual([{ id: 1, path: daemon.fs(1) }]);
  expect(await planned()).toEqual([
    ['MissingDirectory snapshot 1 a', 'MissingDirectory snapshot 2 layer'],
  ]);
  expect(fs.readdirSync(daemon.fs(1))).toEqual([]);
  expect(told(await daemon.prepare('c', 'layer'))).toBe('Unavailable LayerNotAvailable');
  expect(fs.existsSync(daemon.fs(2))).toBe(false);
});

it('does not make a directory for what a client has removed since the look', async () => {
  valueOf(await daemon.prepare('a'));
  await daemon.close();
  fs.rmSync(daemon.fs(1), { recursive: true });
  let removed = Promise.resolve('not asked');
  daemon = await TestDaemon.open(root, {
    recovers: false,
    directories: (real) => ({
      ...real,
      list: async (signal, query) => {
        const found = await real.list(signal, query);
        // While what was found is on its way to the disk.
        if (query?.namesOnly !== true) {
          removed = new Promise((resolve) => {
            setImmediate(() => resolve(daemon.remove('a').then(told)));
          });
        }
        return found;
      },
    }),
  });
  await daemon.assembled.recover();
  expect(await removed).toBe('ok');
  await until('nothing is left', () => daemon.directories().length === 0);
  expect(await recreated()).toEqual([]);
});

it('makes the directory of an active snapshot whose parent’s directory is gone as well', async () => {
  await daemon.layer('layer');
  valueOf(await daemon.prepare('a', 'layer'));
  const id = 2;
  await daemon.close();
  for (const name of fs.readdirSync(root.snapshots)) {
    fs.rmSync(`${root.snapshots}/${name}`, { recursive: true });
  }
  daemon = await TestDaemon.open(root);
  expect(await recreated()).toEqual([{ id, path: daemon.fs(id) }]);
  expect(fs.readdirSync(`${root.snapshots}/${id}`).sort()).toEqual(['fs', 'work']);
  // Found once: the second look sees a directory that the first one's step may be about to fill.
  expect(await planned()).toEqual([
    ['MissingDirectory snapshot 1 layer', 'MissingDirectory snapshot 2 a'],
  ]);
  expect(daemon.warnings).toEqual([]);
  expect(told(await daemon.remove('a'))).toBe('ok');
});

it('makes a lost work directory anew, and leaves fs as the container has it', async () => {
  await daemon.layer('layer');
  valueOf(await daemon.prepare('a', 'layer'));
  valueOf(await daemon.view('v', 'layer'));
  const id = 2;
  fs.chmodSync(daemon.fs(id), 0o1777);
  fs.chownSync(daemon.fs(id), 4000, 4001);
  fs.writeFileSync(`${daemon.fs(id)}/kept`, 'x');
  const work = `${root.snapshots}/${id}/work`;
  await daemon.close();
  fs.rmSync(work, { recursive: true });
  daemon = await TestDaemon.open(root);
  expect(await recreated()).toEqual([{ id, path: work }]);
  expect(await planned()).toEqual([[`MissingDirectory snapshot ${id} a`]]);
  const stat = fs.statSync(daemon.fs(id));
  expect([stat.mode & 0o7777, stat.uid, stat.gid]).toEqual([0o1777, 4000, 4001]);
  expect(fs.readdirSync(daemon.fs(id))).toEqual(['kept']);
  expect(fs.statSync(work).mode & 0o7777).toBe(0o711);
  const [mount] = valueOf(await daemon.mounts('a'));
  const target = `${root.path}/target`;
  fs.mkdirSync(target);
  if (mount === undefined) throw new Error('a mount was expected');
  await daemon.host.mountTable.mount({ ...mount, mountpoint: target });
  try {
    expect(fs.readdirSync(target).sort()).toEqual(['kept', 'layer']);
  } finally {
    await daemon.host.mountTable.unmount(target, { detach: false });
  }
});

it('tells in an inspection that work is lost, and asks none of views and layers', async () => {
  await daemon.layer('layer');
  valueOf(await daemon.prepare('a', 'layer'));
  valueOf(await daemon.view('v', 'layer'));
  const id = 2;
  for (const name of daemon.directories()) {
    if (name === String(id)) continue;
    fs.rmSync(`${root.snapshots}/${name}/work`, { recursive: true, force: true });
  }
  expect(await inspected()).toEqual([]);
  fs.rmSync(`${root.snapshots}/${id}/work`, { recursive: true });
  expect(await inspected()).toEqual(['MissingDirectory']);
});

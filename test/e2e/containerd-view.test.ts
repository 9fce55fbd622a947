/**
 * Goal: what is read of containerd's memory is what containerd says, and the lines that are
 * printed make it agree with Stratalog. Method: a real containerd with images, containers' worth
 * of snapshots, and a daemon behind whose back things are changed on either side.
 */
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../scripts/rig/command.js';
import { ctrBinary } from '../../scripts/rig/containerd.js';
import { stratalog } from '../../scripts/rig/daemon.js';
import type { Image } from '../../scripts/rig/image.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { sampleImage } from '../../scripts/rig/sample-image.js';
import { SnapshotsClient } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { blockingDisk } from '../../src/host/files/blocking-disk.js';
import { BoltUnreadable } from '../../src/inspect/containerd/bolt-file.js';
import { readContainerdMetadata } from '../../src/inspect/containerd/containerd-metadata.js';
import { ClientProcess } from '../support/client-process.js';
import { againstPeer, startLimitMillis, startRig } from './support.js';

describe.runIf(!againstPeer)("containerd's memory beside the log", () => {
  let rig: Rig;
  let image: Image;
  let reference: string;
  let metadata: string;
  const disk = blockingDisk();

  beforeAll(async () => {
    rig = await startRig();
    image = await sampleImage({ extraLayers: 2, bytesPerLayer: 2_000 });
    reference = await rig.publish(image, 'sample');
    await rig.ctr.pull(reference);
    metadata = rig.workspace.path(
      ...['containerd-root', 'io.containerd.metadata.v1.bolt', 'meta.db'],
    );
  }, startLimitMillis);

  afterAll(() => rig.close());

  interface Compared {
    readonly code: number;
    readonly kinds: readonly string[];
    readonly commands: readonly string[];
  }

  async function compared(path: string): Promise<Compared> {
    const args = ['inspect', '--root', rig.daemon.root, '--containerd', path, '--json'];
    const { exitCode, stdout, stderr } = await stratalog(...args);
    expect(stderr).toBe('');
    const told = JSON.parse(stdout) as {
      readonly differences: readonly { readonly kind: string }[];
      readonly commands: readonly string[];
    };
    const kinds = told.differences.map(({ kind }) => kind).sort();
    return { code: exitCode, kinds, commands: told.commands };
  }

  const agreed: Compared = { code: 0, kinds: [], commands: [] };

  function clientOf(address: string): SnapshotsClient {
    const client = new SnapshotsClient(`unix:${address}`, credentials.createInsecure());
    rig.workspace.onClose(() => {
      client.close();
      return Promise.resolve();
    });
    return client;
  }

  const snapshotter = 'stratalog';

  /**
   * Behind containerd's back, which must not run meanwhile: what it made is kept from others. What
   * the other client made is containerd's to collect when that has ended.
   */
  async function behindItsBack(work: (daemon: ClientProcess) => Promise<void>): Promise<void> {
    await rig.containerd.stop();
    const client = await ClientProcess.start(rig.daemon.address);
    try {
      await work(client);
    } finally {
      await client.kill();
      await rig.containerd.startAgain();
    }
  }

  async function must(daemon: ClientProcess, ...call: Parameters<ClientProcess['outcome']>) {
    expect(await daemon.outcome(...call), call.join(' ')).toBe('ok');
  }

  it('agrees after a pull, asked by socket, by file and by directory', async () => {
    expect(await compared(rig.containerd.address)).toEqual(agreed);
    expect(await compared(metadata)).toEqual(agreed);
    expect(await compared(rig.workspace.path('containerd-root'))).toEqual(agreed);
    const { snapshots, snapshotters } = await readContainerdMetadata(disk, metadata, snapshotter);
    expect(snapshotters).toEqual([snapshotter]);
    const rows = snapshots.map(({ key, parent }) => ({ key, parent: parent ?? '' }));
    const expected = await rig.ctr.snapshots();
    expect(rows.sort(byKey)).toEqual(
      expected.map(({ key, parent }) => ({ key, parent })).sort(byKey),
    );
  });

  it('refuses a name that containerd does not know', async () => {
    const args = ['inspect', '--root', rig.daemon.root, '--containerd', metadata];
    const usual = await stratalog(...args, '--snapshotter', 'another');
    expect(usual.exitCode).toBe(3);
    const missing = await stratalog(...args.with(-1, rig.workspace.path('nothing')));
    expect([missing.exitCode, missing.stdout]).toEqual([2, '']);
    const log = await stratalog(...args.with(-1, rig.workspace.path('containerd.toml')));
    expect([log.exitCode, log.stdout]).toEqual([1, '']);
    expect(log.stderr).toContain('not a bolt file');
  });

  it.each(['socket', 'file'])(
    'prints the lines that make them agree, whatever differs (by %s)',
    async (by) => {
      await rig.ctr.pull(reference);
      const path = by === 'socket' ? rig.containerd.address : metadata;
      expect(await compared(path)).toEqual(agreed);
      const third = image.chainIds[2] ?? '';
      await rig.ctr.run(...rig.ctr.snapshotCommand('prepare', "it's a key", third));
      await rig.ctr.inNamespace('other').run(...rig.ctr.snapshotCommand('prepare', '--', '-rf'));
      const { snapshots } = await readContainerdMetadata(disk, metadata, snapshotter);
      const nameOf = (wanted: string): string =>
        snapshots.find(({ key }) => key === wanted)?.name ?? '';
      await behindItsBack(async (daemon) => {
        // Lost by Stratalog: the top layer, and two that have keys which a shell would not like.
        for (const key of [image.chainIds.at(-1) ?? '', "it's a key", '-rf']) {
          await must(daemon, 'remove', nameOf(key));
        }
        // Another parent than containerd means.
        for (const key of image.chainIds.slice(2, -1).reverse()) {
          await must(daemon, 'remove', nameOf(key));
        }
        await must(daemon, 'prepare', 'default/9001/other');
        await must(daemon, 'commit', 'default/9001/other', nameOf(third));
        // Never told to containerd, one on the other.
        await must(daemon, 'prepare', 'default/9002/ghost');
        await must(daemon, 'commit', 'default/9002/ghost', 'default/9003/ghost');
        await must(daemon, 'prepare', 'default/9004/child', 'default/9003/ghost');
      });

      const { code, kinds, commands } = await compared(path);
      expect(code).toBe(3);
      const lost = kinds.filter((kind) => kind === 'OnlyInContainerd').length;
      expect(lost).toBe(3 + Math.max(0, image.chainIds.length - 4));
      expect(kinds.filter((kind) => kind !== 'OnlyInContainerd')).toEqual([
        'OnlyInStratalog',
        'OnlyInStratalog',
        'OtherParent',
      ]);
      await runAll(commands, by === 'socket');
      expect(await compared(path)).toEqual(agreed);
    },
  );

  it('has what only Stratalog has collected, when there is nothing else to remove', async () => {
    await behindItsBack((daemon) => must(daemon, 'prepare', 'default/9005/ghost'));
    const { kinds, commands } = await compared(rig.containerd.address);
    expect(kinds).toEqual(['OnlyInStratalog']);
    await runAll(commands, true);
    expect(await compared(rig.containerd.address)).toEqual(agreed);
  });

  /** As a person would: by hand, in a shell. Without an address in them, they are for this containerd. */
  async function runAll(commands: readonly string[], areWhole: boolean): Promise<void> {
    const env = { CONTAINERD_ADDRESS: rig.containerd.address };
    for (const line of commands) {
      expect(line.includes(`--address ${rig.containerd.address}`)).toBe(areWhole);
      const args = ['--norc', '-c', line.replace(/^ctr /, `${ctrBinary()} `)];
      const { exitCode, stderr } = await run('bash', args, { env, mayFail: true });
      // Behind the first removal containerd collects by itself, and may be quicker.
      const isCollected =
        line !== commands[0] && line.includes(' rm ') && stderr.includes('not found');
      if (!isCollected) expect([exitCode, stderr], line).toEqual([0, '']);
    }
  }

  it('reads many and large pages, also while containerd writes them', async () => {
    const client = clientOf(rig.containerd.address);
    const inNamespace = new Metadata();
    inNamespace.set('containerd-namespace', 'many');
    const keys = Array.from({ length: 250 }, (_, index) => `key-${index}`);
    const large = new Map(
      Array.from({ length: 4 }, (_, index) => [`containerd.io/gc.${index}`, 'x'.repeat(4_000)]),
    );
    large.set('containerd.io/gc.root', 'yes');
    let looks = 0;
    const writing = { isOver: false };
    const reading = async (): Promise<void> => {
      while (!writing.isOver) {
        const { snapshots } = await readContainerdMetadata(disk, metadata, snapshotter);
        const many = snapshots.filter(({ namespace }) => namespace === 'many');
        // A moment of it: all that were made before, and none half made.
        const made = new Set(many.map(({ key }) => key));
        expect(keys.slice(0, made.size).every((key) => made.has(key))).toBe(true);
        expect(
          many.every(({ key, name }) => name.startsWith('many/') && name.endsWith(`/${key}`)),
        ).toBe(true);
        looks += 1;
        await nextTurn();
      }
    };
    const write = async (): Promise<void> => {
      for (const [index, key] of keys.entries()) {
        const labels = index % 10 === 0 ? large : new Map([['containerd.io/gc.root', 'yes']]);
        await promised((done) =>
          client.prepare({ snapshotter, key, parent: '', labels }, inNamespace, done),
        );
      }
    };
    await Promise.all([
      reading(),
      write().finally(() => {
        writing.isOver = true;
      }),
    ]);
    expect(looks).toBeGreaterThan(3);
    const { snapshots } = await readContainerdMetadata(disk, metadata, snapshotter);
    const many = snapshots.filter(({ namespace }) => namespace === 'many');
    expect(many.map(({ key }) => key).sort()).toEqual([...keys].sort());
    const byPages = await readContainerdMetadata(disk, metadata, snapshotter, 0);
    expect(byPages.snapshots).toEqual(snapshots);
    expect(await compared(metadata)).toEqual(agreed);
  });

  it('says that a damaged file is damaged, and never hangs on it', async () => {
    const copy = rig.workspace.path('copy.db');
    await copyFile(metadata, copy);
    const whole = await readFile(copy);
    const view = await readContainerdMetadata(disk, copy, snapshotter);
    const flips = fc.array(
      fc.record({ at: fc.nat({ max: whole.length - 1 }), to: fc.nat({ max: 255 }) }),
      { minLength: 1, maxLength: 200 },
    );
    const pageStarts = fc.array(
      fc.record({
        at: fc
          .tuple(fc.nat({ max: Math.floor(whole.length / 4096) - 1 }), fc.nat({ max: 63 }))
          .map(([page, offset]) => page * 4096 + offset),
        to: fc.constantFrom(0, 1, 2, 255),
      }),
      { minLength: 1, maxLength: 60 },
    );
    const damage = fc.record({
      flips: fc.oneof(flips, pageStarts),
      length: fc.oneof(fc.constant(whole.length), fc.nat({ max: whole.length })),
      heldMax: fc.constantFrom(0, undefined),
    });
    let told = 0;
    await fc.assert(
      fc.asyncProperty(damage, async ({ flips: changes, length, heldMax }) => {
        const bytes = Buffer.from(whole);
        for (const { at, to } of changes) bytes[at] = to;
        await writeFile(copy, bytes.subarray(0, length));
        try {
          const { snapshots } = await readContainerdMetadata(disk, copy, snapshotter, heldMax);
          expect(snapshots.length).toBeLessThanOrEqual(view.snapshots.length * 2);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(BoltUnreadable);
          told += 1;
        }
      }),
      { numRuns: 60 },
    );
    expect(told).toBeGreaterThan(0);
  });
});

const byKey = (one: { readonly key: string }, other: { readonly key: string }): number =>
  one.key < other.key ? -1 : 1;

function promised(
  call: (done: (error: ServiceError | null, response: unknown) => void) => unknown,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    call((error, response) => {
      if (error) reject(error);
      else resolve(response);
    });
  });
}

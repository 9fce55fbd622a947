/** Actions on the node between the commands of a guide. */
import { mkdirSync, openSync, closeSync, readSync, writeSync, writeFileSync } from 'node:fs';
import { readFile, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { SnapshotsClient } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { run } from '../rig/command.js';
import { stratalog } from '../rig/daemon.js';
import type { Image } from '../rig/image.js';
import { pullByLayers } from '../rig/pull-by-layers.js';
import { sampleImage } from '../rig/sample-image.js';
import { until } from '../rig/wait.js';
import type { Session } from './session.js';

type Act = (session: Session, args: readonly string[]) => Promise<void>;

/** Both images share their first layer, the one with busybox. */
export const guideImage = (name: string): Promise<Image> =>
  sampleImage({ seed: name, extraLayers: 1, bytesPerLayer: 256 * 1024 });

const referenceOf = ({ rig }: Session, name: string): string => rig.registry.reference(name, 'v1');

const pull: Act = async (session, [name = '']) => {
  await session.rig.publish(await guideImage(name), name);
  await pullByLayers(session.rig, referenceOf(session, name));
};

/** A container that writes so many MiB and then goes on doing nothing. */
const start: Act = async (session, [image = '', id = '', mebibytes = '0']) => {
  const { ctr, workspace } = session.rig;
  const output = workspace.path(`${id}.out`);
  const script = `dd if=/dev/zero of=/app/cache bs=1048576 count=${mebibytes}; sync; echo ready
while :; do sleep 1; done`;
  await ctr.start(referenceOf(session, image), id, script, output);
  await until(`${id} has written`, async () =>
    (await import('node:fs/promises'))
      .readFile(output, 'utf8')
      .then((text) => text.includes('ready')),
  );
  const container = await ctr.snapshots();
  if (!container.some(({ key }) => key === id)) throw new Error(`${id} has no snapshot`);
};

const runOnce: Act = async ({ rig }, [image = '', id = '']) => {
  await rig.ctr.runOnce(rig.registry.reference(image, 'v1'), id, 'echo done');
  // ctr does not wait for what its removal of the container sets off.
  const root = ['--root', rig.daemon.root];
  await until(`the snapshot of ${id} is removed`, async () => {
    const { stdout } = await stratalog('history', id, ...root, '--json');
    return stdout.includes('"SnapshotRemoved"');
  });
};

/** Many small files, so that removing them takes longer than the crash that follows. */
const fill: Act = async ({ rig }, [id = '', count = '0']) => {
  await rig.ctr.exec(id, 'mkdir /app/objects');
  const mounts = readFile('/proc/self/mountinfo', 'utf8');
  const line = (await mounts).split('\n').find((text) => text.includes(`/${id}/rootfs `));
  const upper = /upperdir=([^,]+)/.exec(line ?? '')?.[1];
  if (upper === undefined) throw new Error(`${id} is not mounted`);
  for (let index = 0; index < Number(count); index += 1) {
    const directory = join(upper, 'app/objects', String(index % 100));
    if (index < 100) mkdirSync(directory);
    writeFileSync(join(directory, String(index)), '');
  }
};

const remove: Act = async ({ rig }, [id = '']) => {
  await rig.ctr.removeContainer(id);
};

const removeImage: Act = async (session, [name = '']) => {
  await session.rig.ctr.removeImage(referenceOf(session, name));
};

/** The kill comes while the directory of the container is being deleted. */
const removeAndCrash: Act = async ({ rig }, [id = '']) => {
  const { root } = rig.daemon;
  const removals = async (): Promise<number> => {
    const { stdout } = await run('grep', ['-a', '-o', 'SnapshotRemoving', '-r', join(root, 'log')]);
    return stdout.split('\n').length;
  };
  const before = await removals().catch(() => 0);
  const removed = rig.ctr.removeContainer(id).catch(() => undefined);
  await until('the removal is in the log', async () => (await removals()) > before, {
    pauseMillis: 1,
  });
  await rig.daemon.crash();
  await removed;
};

const crash: Act = async ({ rig }) => {
  await rig.daemon.crash();
};

const stopDaemon: Act = async ({ rig }) => {
  await rig.daemon.stop();
};

const startDaemon: Act = async ({ rig }) => {
  await rig.daemon.start();
  await until('containerd has connected again', () => rig.ctr.snapshots(), { pauseMillis: 200 });
  await until('the plan is carried out', async () => {
    const { stdout } = await stratalog('inspect', '--root', rig.daemon.root, '--json');
    const look = JSON.parse(stdout) as { findings: { ordinary: boolean }[] };
    return look.findings.every(({ ordinary }) => ordinary);
  });
};

/** Of the whole root, as a backup of a stopped machine would be. */
const copy: Act = async (session, [name = '']) => {
  await run('cp', ['-a', session.rig.daemon.root, session.path(name)]);
};

/** One bit of the record with this number of the only segment. */
const flip: Act = async (session, [name = '', word = '']) => {
  const log = join(session.path(name), 'log');
  const [segment = ''] = (await readdir(log)).filter((file) => file.endsWith('.seg'));
  const file = openSync(join(log, segment), 'r+');
  const bytes = Buffer.alloc(Math.min((await stat(join(log, segment))).size, 1 << 20));
  readSync(file, bytes, 0, bytes.length, 0);
  const at = bytes.indexOf(word);
  if (at < 0) throw new Error(`${word} does not occur in ${segment}`);
  writeSync(file, Buffer.from([(bytes[at] ?? 0) ^ 1]), 0, 1, at);
  closeSync(file);
};

/**
 * Behind containerd's back, as a person with a client of their own would. containerd must not run
 * then: what it made is kept from others.
 */
const removeBehind: Act = async ({ rig }, [id = '']) => {
  await rig.containerd.stop();
  const client = new SnapshotsClient(`unix:${rig.daemon.address}`, credentials.createInsecure());
  const { stdout } = await stratalog('state', '--root', rig.daemon.root, '--quiet');
  const key = stdout.split('\n').find((text) => text.endsWith(`/${id}`)) ?? '';
  await new Promise<void>((resolve, reject) => {
    client.remove({ snapshotter: 'stratalog', key }, (error) => {
      if (error) reject(error);
      else resolve();
    });
  }).finally(async () => {
    client.close();
    await rig.containerd.startAgain();
  });
};

const moveAway: Act = async (session, [name = '', part = '']) => {
  await rename(join(session.path(name), part), session.path(`${name}-${part}`));
};

/** Prepared and never started: nothing is mounted from its snapshot. */
const create: Act = async (session, [image = '', id = '']) => {
  const { ctr } = session.rig;
  const flags = ['--snapshotter', 'stratalog'];
  await ctr.run('containers', 'create', ...flags, referenceOf(session, image), id);
};

/** A command that the page does not show. */
const shell: Act = async (session, words) => {
  const { exitCode, output } = await session.shell(words.join(' '));
  if (exitCode !== 0) throw new Error(output);
};

export const acts: ReadonlyMap<string, Act> = new Map(
  Object.entries({
    pull,
    start,
    'run-once': runOnce,
    fill,
    remove,
    'remove-image': removeImage,
    'remove-and-crash': removeAndCrash,
    crash,
    'stop-daemon': stopDaemon,
    'start-daemon': startDaemon,
    copy,
    create,
    shell,
    flip,
    'remove-behind': removeBehind,
    'move-away': moveAway,
    mark: (session, [name = '']) => session.mark(name),
  } satisfies Record<string, Act>),
);

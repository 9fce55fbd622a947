/** What happens on the node while a guide is told. */
import { mkdirSync, openSync, closeSync, readSync, writeSync, writeFileSync } from 'node:fs';
import { cp, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { SnapshotsClient } from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { sampleImage } from '../rig/sample-image.js';
import { until } from '../rig/wait.js';
import type { Session } from './session.js';

type Act = (session: Session, args: readonly string[]) => Promise<void>;

/** Both images share their first layer, the one with busybox. */
const sampleOf = (name: string) => ({ seed: name, extraLayers: 1, bytesPerLayer: 256 * 1024 });

const referenceOf = ({ rig }: Session, name: string): string => rig.registry.reference(name, 'v1');

const pull: Act = async (session, [name = '']) => {
  await session.rig.publish(await sampleImage(sampleOf(name)), name);
  await session.rig.ctr.pull(referenceOf(session, name));
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
};

/** Many small files, so that removing them takes longer than the crash that follows. */
const fill: Act = async ({ rig }, [id = '', count = '0']) => {
  await rig.ctr.exec(id, 'mkdir /app/objects');
  const mounts = (await import('node:fs/promises')).readFile('/proc/self/mountinfo', 'utf8');
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

/** containerd's removals reach the snapshotter only here. */
const collectAndCrash: Act = async ({ rig }) => {
  await rig.ctr.collectGarbage();
  await rig.daemon.crash();
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
    const { stdout } = await (
      await import('../rig/daemon.js')
    ).stratalog('inspect', '--root', rig.daemon.root, '--json');
    const look = JSON.parse(stdout) as { findings: { ordinary: boolean }[] };
    return look.findings.every(({ ordinary }) => ordinary);
  });
};

/** Of the log without the directories, which is what one can send by mail. */
const copy: Act = async (session, [name = '']) => {
  const { root } = session.rig.daemon;
  for (const part of ['log', 'identity.json']) {
    await cp(join(root, part), join(session.path(name), part), { recursive: true });
  }
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

/** Behind containerd's back, as a person with a client of their own would. */
const removeBehind: Act = async ({ rig }, [id = '']) => {
  const client = new SnapshotsClient(`unix:${rig.daemon.address}`, credentials.createInsecure());
  const { stdout } = await (
    await import('../rig/daemon.js')
  ).stratalog('state', '--root', rig.daemon.root, '--json');
  const keys = [...stdout.matchAll(/"key":"([^"]+)"/g)].map(([, key = '']) => key);
  const key = keys.find((text) => text.endsWith(`/${id}`)) ?? '';
  await new Promise<void>((resolve, reject) => {
    client.remove({ snapshotter: 'stratalog', key }, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
  client.close();
};

const moveAway: Act = async (session, [name = '', part = '']) => {
  await rename(join(session.path(name), part), session.path(`${name}-${part}`));
};

export const acts: ReadonlyMap<string, Act> = new Map(
  Object.entries({
    pull,
    start,
    'run-once': runOnce,
    fill,
    remove,
    'remove-image': removeImage,
    'collect-and-crash': collectAndCrash,
    crash,
    'stop-daemon': stopDaemon,
    'start-daemon': startDaemon,
    copy,
    flip,
    'remove-behind': removeBehind,
    'move-away': moveAway,
    mark: (session, [name = '']) => session.mark(name),
  } satisfies Record<string, Act>),
);

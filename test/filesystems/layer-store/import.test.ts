/**
 * Goal: an import is whole or not there, from every source, also when two run at once or one is
 * killed. Method: the real command in processes of its own, and a look at the store afterwards.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { chainIdOn, digestOf, hexOf } from '../../../src/filesystems/layer-store/digest.js';
import {
  parsePlatform,
  type Platform,
} from '../../../src/filesystems/layer-store/import/image-manifest.js';
import {
  openSource,
  parseSource,
} from '../../../src/filesystems/layer-store/import/image-source.js';
import { sweepStaging } from '../../../src/filesystems/layer-store/store-directory.js';
import { fullCheck } from '../../../src/filesystems/layer-store/verify-layer.js';
import { isVolumeAvailable, LoopVolume } from '../../support/loop-volume.js';
import { tarOf, type Entry } from '../../../scripts/rig/tar.js';
import { llistxattr, lsetxattr } from '../../../src/host/files/xattrs.js';
import { Bench, everyFormat, reasonFor } from './support.js';

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

const program = fileURLToPath(new URL('layer-program.ts', import.meta.url));
const nodeArguments = ['--import', 'tsx', program];

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `stratalog layer …` and waits for its end. */
function layer(...given: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [...nodeArguments, ...given], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

/** The same with a file on its stdin, through a pipe. */
function layerFrom(input: string, ...given: string[]): Promise<Ran> {
  const words = ['cat "$0" | "$@"', input, process.execPath, ...nodeArguments, ...given];
  return new Promise((resolve) => {
    execFile('sh', ['-c', ...words], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

const small: readonly Entry[] = [{ name: 'a', content: 'x' }];
const manyFiles = (count: number): Entry[] =>
  Array.from({ length: count }, (_, index) => ({ name: `d/${index}`, content: `${index}` }));

const layersIn = (): string[] => fs.readdirSync(path.join(bench.store, 'sha256'));
const stagingIn = (): string[] => fs.readdirSync(path.join(bench.store, 'staging'));

describe('flags', () => {
  it('have defaults that can be typed', async () => {
    const { stdout } = await layer('import', '--help');
    const defaults = [...stdout.replaceAll(/\s+/g, ' ').matchAll(/\(default: ([^)]+)\)/g)];
    const [platform, maxSize] = defaults.map(([, text = '']) => text.replace(/,.*/, '')).slice(-2);
    expect(platform).toMatch(/^linux\/[a-z0-9]+$/);
    expect(maxSize).toBe('64GiB');
  });

  it('take a size as the configuration does', async () => {
    for (const size of ['64G', '1000', '0B']) {
      const refused = await layer('import', '--layer-store', bench.store, '--max-size', size, 'x');
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toContain('Use for example 500MiB or 64GiB.');
    }
  });
});

it.skipIf(!isVolumeAvailable('ext4'))('a store may be a fresh disk of its own', async () => {
  const volume = new LoopVolume(path.join(bench.directory('disk'), 'ext4'), 'ext4');
  try {
    volume.mount(bench.store);
    const { path: layout, chainIds } = bench.layout([tarOf(small)]);
    expect(await bench.import(`oci:${layout}`)).toMatchObject([{ outcome: 'imported' }]);
    const { stdout } = await layer('ls', '--layer-store', bench.store, '--check', '--json');
    expect(stdout).toContain(chainIds[0]);
    expect(stdout).not.toContain('lost+found');
    expect(await sweepStaging(bench.store, bench.mountTable)).toBe(0);
    expect(fs.readdirSync(bench.store)).toContain('lost+found');
  } finally {
    volume.close();
  }
});

describe('an import of nothing is refused:', () => {
  const arm: Platform = { os: 'linux', architecture: 'arm', variant: 'v6' };
  const opened = (layout: string, platform: string | null) =>
    openSource(
      parseSource(`oci:${layout}:v1`),
      platform === null ? null : parsePlatform(platform),
      null,
    );

  it.each([
    ['in an index', {}],
    ['of one manifest alone', { isFlat: true } as const],
  ])('a platform that the image does not have, %s', (_, how) => {
    const { path: layout } = bench.layout([tarOf(small)], { ...how, platform: arm });
    for (const platform of ['linux/arm64', 'linux/arm/v7', 'windows/arm/v6']) {
      expect(() => opened(layout, platform)).toThrow(
        /^the image is not there for \S+, only for (unknown\/unknown, )?linux\/arm\/v6$/,
      );
    }
    for (const platform of ['linux/arm', 'linux/arm/v6', 'linux/arm/6']) {
      expect(opened(layout, platform)).toHaveLength(1);
    }
  });

  it('this platform of an index that has another alone', () => {
    const { path: layout } = bench.layout([tarOf(small)], { platform: arm });
    expect(() => opened(layout, null)).toThrow(/the image is not there for \S+, only for/);
    // A manifest that is named by itself may be for any machine.
    const flat = bench.layout([tarOf(small)], { platform: arm, isFlat: true });
    expect(opened(flat.path, null)).toHaveLength(1);
  });

  it('an image without layers', () => {
    const { path: layout } = bench.layout([]);
    expect(() => opened(layout, null)).toThrow('the image has no layers: there is nothing to');
  });

  it('a tar with a platform', () => {
    const file = path.join(bench.path, 'layer.tar');
    fs.writeFileSync(file, tarOf(small));
    const chain = { chainId: digestOf(Buffer.from('')), parentChainId: null };
    const source = parseSource(`tar:${file}`);
    expect(() => openSource(source, arm, chain)).toThrow(
      'a tar has no platform: leave --platform out',
    );
    expect(openSource(source, null, chain)).toHaveLength(1);
  });

  it('by the command, with exit code 2 and nothing made', async () => {
    const platform: Platform = { os: 'linux', architecture: 's390x' };
    const { path: layout } = bench.layout([tarOf(small)], { platform, isFlat: true });
    const flags = ['--layer-store', bench.store, '--platform', 'linux/arm64'];
    const refused = await layer('import', ...flags, `oci:${layout}:v1`);
    expect(refused).toMatchObject({ code: 2, stdout: '' });
    expect(refused.stderr).toMatch(/is not there for linux\/arm64, only for linux\/s390x\n/);
    expect(fs.existsSync(bench.store)).toBe(false);
  });
});

describe('sources', () => {
  it('are an OCI layout by tag or digest, and the content store of containerd', async () => {
    const layout = bench.layout([tarOf(small)], { tag: 'registry:5000/name:tag' });
    const top = await layer('import', '--layer-store', bench.store, `oci:${layout.path}`);
    expect(top).toEqual({ code: 0, stdout: `${layout.chainIds[0] ?? ''} imported\n`, stderr: '' });
    for (const source of [
      `oci:${layout.path}:registry:5000/name:tag`,
      `oci:${layout.path}@${layout.manifest}`,
      `content:${layout.path}@${layout.manifest}`,
    ]) {
      expect(await bench.import(source)).toEqual([
        { chainId: layout.chainIds[0], outcome: 'already present' },
      ]);
    }
    const root = bench.directory('containerd');
    fs.mkdirSync(path.join(root, 'io.containerd.content.v1.content'));
    fs.renameSync(
      path.join(layout.path, 'blobs'),
      path.join(root, 'io.containerd.content.v1.content/blobs'),
    );
    const forced = await bench.import(`content:${root}@${layout.manifest}`, { force: true });
    expect(forced.map((each) => each.outcome)).toEqual(['replaced']);
    expect(await reasonFor(bench.import(`content:${root}`))).toMatch(/has no digest/);
    expect(await reasonFor(bench.import('docker://x'))).toMatch(/names no source/);
  });

  it('are a tar with its chain id, checked as far as its parent is known', async () => {
    const tar = tarOf([{ name: '.wh.gone' }, { name: 'a', content: 'x' }]);
    const file = path.join(bench.path, 'layer.tar');
    fs.writeFileSync(file, tar);
    const diffId = digestOf(tar);
    const parent = digestOf('parent');
    const run = (...given: string[]): Promise<Ran> =>
      layer('import', '--layer-store', bench.store, `tar:${file}`, ...given);
    const chainId = chainIdOn(parent, diffId);
    expect(await run('--chain-id', diffId, '--parent', parent)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(`has the chain id ${chainId}, not ${diffId}`) as string,
    });
    expect(layersIn()).toEqual([]);
    expect(await run('--chain-id', chainId, '--parent', parent)).toMatchObject({ code: 0 });
    // A lowest layer has nothing to hide; the other one keeps its whiteout.
    expect(await run('--chain-id', diffId)).toMatchObject({ code: 0, stderr: '' });
    const namesIn = (id: string): string[] =>
      fs.readdirSync(path.join(bench.store, 'sha256', id.slice(7), 'fs'));
    expect(namesIn(chainId)).toEqual(['a', 'gone']);
    expect(namesIn(diffId)).toEqual(['a']);
    expect(await run()).toMatchObject({ code: 2 });
    expect(await run('--chain-id', 'sha256:short')).toMatchObject({ code: 1 });
  });
});

describe('a tar whose chain id alone is known', () => {
  const tar = tarOf([{ name: 'd/f', content: 'x' }, { name: 'd/.wh.gone' }, { name: '.wh.other' }]);
  /** On a parent that the import is not told of. */
  const chainId = chainIdOn(digestOf('parent'), digestOf(tar));
  const whiteouts = (): string[] => {
    const root = path.join(bench.store, 'sha256', chainId.slice(7), 'fs');
    return ['d/gone', 'other'].filter((name) =>
      fs.lstatSync(`${root}/${name}`).isCharacterDevice(),
    );
  };

  it('is unpacked as an upper layer when its digest says that it is one', async () => {
    const file = path.join(bench.path, 'layer.tar');
    fs.writeFileSync(file, tar);
    const command = ['import', '--layer-store', bench.store, '--chain-id', chainId, `tar:${file}`];
    const { code, stderr } = await layer(...command);
    expect(code).toBe(0);
    expect(stderr).toContain('unchecked: name its parent with --parent');
    expect(whiteouts()).toEqual(['d/gone', 'other']);
  });

  it('is refused from a pipe, which cannot be read twice, and taken with its parent', async () => {
    const file = path.join(bench.path, 'layer.tar');
    fs.writeFileSync(file, tar);
    const piped = (...more: string[]): Promise<Ran> =>
      layerFrom(file, 'import', '--layer-store', bench.store, '--chain-id', chainId, ...more);
    const refused = await piped('tar:/dev/stdin');
    expect(refused).toMatchObject({ code: 2, stdout: '' });
    expect(refused.stderr).toMatch(
      /deletes files of the layers below it: name its parent with --parent, or give a file/,
    );
    expect(layersIn()).toEqual([]);
    const taken = await piped('--parent', digestOf('parent'), 'tar:/dev/stdin');
    expect(taken.code).toBe(0);
    expect(taken.stderr).toMatch(
      /^warning: d is not an entry of the archive .*is not in the store/,
    );
    expect(whiteouts()).toEqual(['d/gone', 'other']);
  });
});

it('passes nothing on that the directory of the store would pass on', async () => {
  fs.mkdirSync(bench.store);
  // What setfacl -d -m u:1234:rwx writes (linux/posix_acl_xattr.h).
  const entry = (tag: number, permissions: number, id = 0xffffffff): number[] => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16LE(tag, 0);
    bytes.writeUInt16LE(permissions, 2);
    bytes.writeUInt32LE(id, 4);
    return [...bytes];
  };
  const acl = [entry(1, 7), entry(2, 7, 1234), entry(4, 5), entry(16, 7), entry(32, 5)].flat();
  lsetxattr(bench.store, 'system.posix_acl_default', Buffer.from([2, 0, 0, 0, ...acl]));
  fs.chownSync(bench.store, 0, 4321);
  fs.chmodSync(bench.store, 0o2755);
  const chainId = await bench.importEntries([{ name: 'implied/f', content: 'x' }]);
  const root = path.join(bench.store, 'sha256', chainId.slice(7), 'fs');
  for (const name of ['', '/implied', '/implied/f']) {
    const stats = fs.statSync(root + name);
    expect([stats.uid, stats.gid, stats.mode & 0o7777]).toEqual([
      0,
      0,
      name === '/implied/f' ? 0o644 : 0o755,
    ]);
    expect(llistxattr(root + name).filter((each) => each.startsWith('system.'))).toEqual([]);
  }
});

it('reports a directory whose look is that of a layer that the store does not have', async () => {
  const lowest = tarOf([{ name: 'a/', type: 'directory', mode: 0o700, uid: 5 }]);
  const middle = tarOf([{ name: 'b/', type: 'directory', mode: 0o700 }]);
  const top = tarOf([{ name: 'a/f' }, { name: 'a/g/h' }, { name: 'b/f' }]);
  const first = digestOf(lowest);
  const second = chainIdOn(first, digestOf(middle));
  const file = path.join(bench.path, 'top.tar');
  fs.writeFileSync(file, top);
  const importTop = (): Promise<Ran> => {
    const chain = ['--chain-id', chainIdOn(second, digestOf(top)), '--parent', second, '--force'];
    return layer('import', '--layer-store', bench.store, ...chain, `tar:${file}`);
  };
  const alone = await importTop();
  expect(alone.code).toBe(0);
  expect(alone.stderr.split('\n')).toEqual([
    `warning: a is not an entry of the archive and gets mode 0755 and owner 0:0, because the layer ${second} below is not in the store; import the layers below first, then this one with --force`,
    '',
  ]);

  await bench.import(`oci:${bench.layout([lowest, middle]).path}:v1`);
  expect(await importTop()).toMatchObject({ code: 0, stderr: '' });
  fs.rmSync(path.join(bench.store, 'sha256', hexOf(first)), { recursive: true });
  expect((await importTop()).stderr).toContain(`the layer ${first} below is not in the store`);
});

it('takes a layer that it cannot read for neither damaged nor absent', async () => {
  const entries: readonly Entry[] = [{ name: 'a', content: 'x' }];
  const chainId = await bench.importEntries(entries);
  const manifest = path.join(bench.store, 'sha256', chainId.slice(7), 'manifest.json');
  const list = (): Promise<Ran> => layer('ls', '--layer-store', bench.store);
  // A file that the kernel refuses to read.
  execFileSync('mount', ['--bind', '/sys/class/net/lo/speed', manifest]);
  try {
    const listed = await list();
    expect(listed.code).toBe(1);
    expect(listed.stderr).toMatch(/cannot read layer: .*EINVAL/);
    expect(listed.stdout).toContain('(not read)');
    const again = bench.importEntries(entries, { force: true });
    expect(await reasonFor(again)).toMatch(/was left alone: .*EINVAL/);
  } finally {
    execFileSync('umount', [manifest]);
  }
  expect(await list()).toMatchObject({ code: 0, stderr: '' });
});

it('lists what is there, as a table, as JSON, as ids, and exits 3 on damage', async () => {
  const chainIds = [];
  for (const format of everyFormat) {
    chainIds.push(await bench.importEntries([{ name: format, content: format }], { format }));
  }
  const list = (...given: string[]): Promise<Ran> =>
    layer('ls', '--layer-store', bench.store, ...given);
  const table = (await list('--no-trunc')).stdout.split('\n');
  expect(table[0]).toMatch(/^CHAIN ID +FORMAT +SIZE +CREATED$/);
  for (const chainId of chainIds) expect(table.join('\n')).toContain(chainId);
  expect((await list('-q')).stdout.trim().split('\n')).toEqual([...chainIds].sort());
  const rows = (await list('--json', '--check')).stdout.trim().split('\n');
  const parsed = rows.map((row) => JSON.parse(row) as Record<string, unknown>);
  expect(parsed.map((row) => row['format']).sort()).toEqual([...everyFormat].sort());
  expect(parsed.every((row) => row['schema'] === 'stratalog.layer-listing/v1')).toBe(true);
  expect(parsed.every((row) => row['damage'] === null)).toBe(true);

  // One bit in an image: only reading all of it tells.
  const image = path.join(bench.store, 'sha256', chainIds[2]?.slice(7) ?? '', 'layer.squashfs');
  const bytes = fs.readFileSync(image);
  bytes.writeUInt8((bytes.at(2000) ?? 0) ^ 4, 2000);
  fs.writeFileSync(image, bytes);
  expect(await list()).toMatchObject({ code: 0, stderr: '' });
  const checked = await list('--check');
  expect(checked.code).toBe(3);
  expect(checked.stderr).toMatch(/has digest .*, expected .* as in its manifest/);
  expect(await layer('ls', '--layer-store', bench.path)).toMatchObject({ code: 2 });
});

it('refuses a directory that holds something else', async () => {
  fs.mkdirSync(bench.store);
  fs.writeFileSync(path.join(bench.store, 'thesis.txt'), 'x');
  expect(await reasonFor(bench.importEntries(small))).toMatch(
    /neither a layer store nor empty.*thesis/,
  );
  expect(fs.readdirSync(bench.store)).toEqual(['thesis.txt']);
});

it('does not replace a directory layer that is mounted', async () => {
  const chainId = await bench.importEntries(small);
  const mountpoint = await bench.mount(chainId);
  expect(await reasonFor(bench.importEntries(small, { force: true }))).toMatch(/is mounted at/);
  expect(fs.readFileSync(path.join(mountpoint, 'a'), 'utf8')).toBe('x');
  expect(stagingIn()).toEqual([]);
});

it.each(everyFormat)('lets one of several imports at once win, as %s', async (format) => {
  const layout = bench.layout([tarOf(manyFiles(300)), tarOf(small)]);
  const command = ['import', '--layer-store', bench.store, '--format', format];
  const ran = await Promise.all([1, 2, 3].map(() => layer(...command, `oci:${layout.path}:v1`)));
  expect(ran.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
    Array(3).fill({ code: 0, stderr: '' }),
  );
  for (const chainId of layout.chainIds) {
    const outcomes = ran.map(({ stdout }) => new RegExp(`${chainId} (.*)`).exec(stdout)?.[1]);
    expect(outcomes.sort()).toEqual(['already present', 'already present', 'imported']);
    expect((await fullCheck(bench.store, chainId)).state).toBe('good');
  }
  expect(stagingIn()).toEqual([]);
});

it('leaves no half layer when it is killed, and the next import cleans up', async () => {
  const layout = bench.layout([tarOf(manyFiles(20_000))]);
  const source = `oci:${layout.path}:v1`;
  const command = ['import', '--layer-store', bench.store, source];
  const killed = spawn(process.execPath, [...nodeArguments, ...command], { stdio: 'ignore' });
  const ended = once(killed, 'exit');
  await until(() => {
    const [staged] = fs.existsSync(path.join(bench.store, 'staging')) ? stagingIn() : [];
    if (staged === undefined) return false;
    const tree = path.join(bench.store, 'staging', staged.replace('.lock', ''), 'layer/fs/d');
    return fs.existsSync(tree) && fs.readdirSync(tree).length > 100;
  });
  // While it lives, a sweep of somebody else leaves it alone.
  expect(await sweepStaging(bench.store, bench.mountTable)).toBe(0);
  killed.kill('SIGKILL');
  await ended;
  expect(layersIn()).toEqual([]);
  expect(stagingIn()).toHaveLength(2);

  expect((await bench.import(source)).map((each) => each.outcome)).toEqual(['imported']);
  expect(bench.warnings).toEqual(['removed what 1 unfinished import(s) had left in staging']);
  expect(stagingIn()).toEqual([]);
});

it('unmounts what a killed import had mounted in its staging directory', async () => {
  await bench.importEntries(small);
  const mountpoint = path.join(bench.store, 'staging/0123456789abcdef/lower-0');
  fs.mkdirSync(mountpoint, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'none', mountpoint]);
  expect(await sweepStaging(bench.store, bench.mountTable)).toBe(1);
  expect(stagingIn()).toEqual([]);
  expect(bench.mountpoints()).toEqual([]);
});

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error('it did not come to that in 20 s');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

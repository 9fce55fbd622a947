/**
 * Goal: commands answer the questions of an auditor from the log of a root, as text and as JSON.
 * Method: the built command on roots with real logs.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { everyCommand, shapeOf } from '../../src/cli/args/command-shape.js';
import { buildProgram } from '../../src/cli/main.js';
import {
  aDaemon,
  aDirectory,
  aRoot,
  askedOf,
  buildLimitMillis,
  builtCli,
  cleanUp,
  committed,
  committing,
  daemonStarted,
  jsonLines,
  prepared,
  preparing,
  removing,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const digest = `sha256:${'ab12cd34ef56'.padEnd(64, '0')}`;
const layer = `k8s.io/2/${digest}`;
const onLayer = { parent: { id: 1, name: layer } };
const settings = {
  ...{ root: '/var/lib/stratalog', durability: 'data', fileSystem: null },
  ...{ mountOptions: ['index=off'] },
};

/** A layer, two containers of the same name, one of them removed, and one in another namespace. */
const aStory = [
  daemonStarted(settings),
  preparing(1, 'k8s.io/1/extract-1 x'),
  prepared(1),
  committing(1, layer),
  committed(1, layer),
  preparing(2, 'k8s.io/3/web', onLayer),
  prepared(2),
  removing(2),
  { stream: 'snapshot-2', type: 'SnapshotRemoved' },
  preparing(3, 'k8s.io/4/web', onLayer),
  prepared(3),
  preparing(4, 'default/5/tool\u001b[31m'),
  prepared(4),
];

/** The output of a command that must succeed with nothing on stderr. */
async function outputOf(root: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await stratalog([...args, '--root', root]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

it('shows the same history by id, name and digest', async () => {
  const root = await aRoot(aStory);
  const byNumber = await outputOf(root, 'history', '1');
  expect(byNumber).toContain(`names     k8s.io/1/extract-1 x, then ${layer}\n`);
  expect(byNumber).toContain('kinds     active, then committed\n');
  expect(byNumber).toMatch(/2 k8s\.io\/3\/web, from position 5 to 7\n/);
  expect(byNumber).toMatch(/3 k8s\.io\/4\/web, from position 9 on\n/);
  expect(byNumber).toMatch(
    /4 +\S+Z +\+\S+ m?s +SnapshotCommitted .*data measured and made durable in/,
  );
  expect(await outputOf(root, 'history', digest)).toBe(byNumber);
  expect(await outputOf(root, 'history', digest.slice(0, 19))).toBe(byNumber);
  expect(await outputOf(root, 'history', 'extract-1 x', '-n', 'k8s.io')).toBe(byNumber);

  const [head, ...events] = jsonLines(await outputOf(root, 'history', '2', '--json'));
  expect(head).toMatchObject({
    schema: 'stratalog.history/v1',
    ...{ id: 2, names: ['k8s.io/3/web'], kinds: ['active'], status: 'removed', isWhole: true },
    parents: [{ id: 1, name: layer }],
    children: [],
  });
  expect(events.map(({ schema, position }) => [schema, position])).toEqual(
    [5, 6, 7, 8].map((position) => ['stratalog.history-event/v1', position]),
  );
  expect(events[2]).toMatchObject({ caller: { namespace: 'default', pid: 7 }, step: null });
  expect(events[3]).toMatchObject({ caller: null, step: { what: 'directories removed in' } });
});

const aboutOne = [['history'], ['machine'], ['state', 'show'], ['who', '--offline'], ['mount']];

it('prefers an existing snapshot to removed ones of the same name, and says so', async () => {
  const root = await aRoot(aStory);
  const answers = await Promise.all(
    aboutOne.map((command) => stratalog([...command, 'web', '--root', root])),
  );
  for (const { stderr } of answers) {
    expect(stderr).toContain(
      '"web" matches 2 snapshots; using 3; run `stratalog history --all web` to see each',
    );
  }
  // mount fails because there are no directories.
  expect(answers.map(({ code }) => code)).toEqual([0, 0, 0, 0, 1]);
  expect(answers[4]?.stderr).toMatch(
    /cannot mount layer k8s\.io\/4\/web: \S+\/3\/fs does not exist/,
  );
  expect(await outputOf(root, 'who', '--all', '-q', 'web')).toBe('2\n3\n');
  const then = await stratalog(['machine', 'web', '--at', '8', '--root', root]);
  expect(then.stdout).toContain('snapshot  2 k8s.io/3/web');
  expect(then.stderr).toBe('');
});

it('refuses an ambiguous name, and lists the matches', async () => {
  const root = await aRoot([...aStory, preparing(5, 'default/6/web'), prepared(5)]);
  const answers = await Promise.all(
    aboutOne.map((command) => stratalog([...command, 'web', '--root', root])),
  );
  for (const { code, stdout, stderr } of answers) {
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/"web" matches 2 snapshots; give the id of one:\n/);
    expect(stderr).toMatch(/ 3 {2}k8s\.io\/4\/web {2}\S+Z {2}active\n/);
    expect(stderr).toMatch(/ 5 {2}default\/6\/web {2}\S+Z {2}active\n/);
  }
  expect(await outputOf(root, 'history', '-q', 'web', '-n', 'default')).toBe('13\n14\n');
});

it('shows every match, or reports that there is none', async () => {
  const root = await aRoot(aStory);
  expect(await outputOf(root, 'history', '--all', '-q', 'web')).toBe('5\n6\n7\n8\n9\n10\n');
  const none = await stratalog(['history', 'absent', '--root', root]);
  expect({ code: none.code, stdout: none.stdout }).toEqual({ code: 1, stdout: '' });
  expect(none.stderr).toContain('has the id, key, name or digest "absent"; a prefix needs');
  const noLayer = await stratalog(['why', 'absent', '--root', root]);
  expect(noLayer.stderr).toContain(
    '"absent", or a label that names this image; a prefix needs at least 8 characters; run `stratalog log` to list the events',
  );
  const elsewhere = await stratalog(['history', 'web', '-n', 'default', '--root', root]);
  expect(elsewhere.code).toBe(1);
  expect(elsewhere.stderr).toContain(
    'in namespace "default"; omit -n to see 2 in other namespaces',
  );
});

it('shows the snapshots at a moment as a list, a tree, keys and JSON', async () => {
  const root = await aRoot(aStory);
  const list = (await outputOf(root, 'state')).trimEnd().split('\n');
  expect(list.map((line) => line.split(/ {2,}/))).toEqual([
    ['NAME', 'PARENT', 'KIND', 'ID', 'STATE'],
    [layer, 'committed', '1', 'available'],
    ['k8s.io/4/web', layer, 'active', '3', 'active'],
    ['default/5/tool\\u{1b}[31m', 'active', '4', 'active'],
  ]);
  expect(await outputOf(root, 'state', 'ls', '--at', '6', '-q')).toBe(`${layer}\n`);
  expect(await outputOf(root, 'state', '--at', '6', '-q', '--all')).toBe(
    `${layer}\nk8s.io/3/web\n`,
  );
  const tree = await outputOf(root, 'state', 'tree', '-n', 'k8s.io', '--at', '11');
  expect(tree.split('\n').map((line) => line.split(/ {3,}/)[1])).toEqual([
    ...['NAME', layer, '↳ k8s.io/4/web', undefined],
  ]);
  const [head, ...snapshots] = jsonLines(
    await outputOf(root, 'state', 'list', '--at', '11', '--json'),
  );
  expect(head).toMatchObject({ schema: 'stratalog.state/v1', position: 11 });
  expect(snapshots).toMatchObject([
    { schema: 'stratalog.snapshot/v1', id: 1, kind: 'committed', usage: { size: 4096, inodes: 2 } },
    { id: 3, name: 'k8s.io/4/web', parent: onLayer.parent, status: 'active' },
  ]);
});

it('shows one snapshot in full, with the mounts that a Mounts call would return', async () => {
  const root = await aRoot(aStory);
  const text = await outputOf(root, 'state', 'show', 'k8s.io/4/web');
  const shown = JSON.parse(text) as Record<string, unknown>;
  expect(text).toMatch(/^\{\n {4}"at"/);
  const at = '/var/lib/stratalog/snapshots';
  const options = [
    `workdir=${at}/3/work`,
    `upperdir=${at}/3/fs`,
    `lowerdir=${at}/1/fs`,
    'index=off',
  ];
  expect(shown).toMatchObject({
    ...{ id: 3, name: 'k8s.io/4/web', kind: 'active', parents: [onLayer.parent], children: [] },
    mounts: [{ type: 'overlay', source: 'overlay', options }],
  });
  const [then] = jsonLines(await outputOf(root, 'state', 'show', '1', '--at', '7', '--json'));
  expect(then).toMatchObject({ children: [{ id: 2, name: 'k8s.io/3/web' }], mounts: null });
  const strange = await outputOf(root, 'state', 'show', '4');
  expect(strange).not.toContain('\u001b');
  expect(JSON.parse(strange)).toMatchObject({ name: 'default/5/tool\u001b[31m' });
  const gone = await stratalog(['state', 'show', 'web', '--at', '9', '--root', root]);
  expect(gone.code).toBe(1);
  expect(gone.stderr).toContain('no snapshot "web" exists at position 9; removed earlier: 2;');
  const beyond = await stratalog(['state', '--at', '99', '--root', root]);
  expect({ code: beyond.code, stdout: beyond.stdout }).toEqual({ code: 1, stdout: '' });
  expect(beyond.stderr).toContain('the log ends at position 13: 99 does not exist yet');
});

it('shows what changed between two moments, and exits 3 if there are differences', async () => {
  const root = await aRoot(aStory);
  const changed = await stratalog(['diff', '4', '11', '--root', root]);
  expect({ code: changed.code, stderr: changed.stderr }).toEqual({ code: 3, stderr: '' });
  expect(changed.stdout).toMatch(/~ +1 +\S+ +committed +name: k8s.io\/1\/extract-1 x → k8s/);
  expect(changed.stdout).toMatch(
    /\n1 added, 0 removed, 1 changed, 0 unchanged; layers \+4\.0 KiB\n$/,
  );
  const [entry, totals] = jsonLines(
    (await stratalog(['diff', '11', '7', '--json', '--root', root])).stdout,
  ).slice(-2);
  expect(entry).toMatchObject({
    ...{ schema: 'stratalog.difference/v1', change: 'removed', id: 3, after: null },
    before: { status: 'active' },
  });
  expect(totals).toMatchObject({ schema: 'stratalog.diff/v1', added: 1, removed: 1, same: 1 });
  expect(await outputOf(root, 'diff', '13')).toBe(
    '0 added, 0 removed, 0 changed, 3 unchanged; layers +0 B\n',
  );
});

it('finds the owner of a directory, a file and a mount, and the uses of a snapshot', async () => {
  const root = await aRoot(aStory.slice(1));
  const at = `${root}/snapshots`;
  const mountpoint = await aDirectory();
  for (const path of ['1/fs/etc', '3/fs', '3/work', '77'])
    mkdirSync(`${at}/${path}`, { recursive: true });
  symlinkSync(`${at}/1/fs`, `${root}/link`);
  const options = `lowerdir=${at}/1/fs:${at}/77,upperdir=${at}/3/fs,workdir=${at}/3/work`;
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', options, mountpoint]);
  try {
    const layerOf = await outputOf(root, 'who', `${at}/1/fs/etc/passwd`);
    expect(layerOf).toContain(`names     k8s.io/1/extract-1 x, then ${layer}\n`);
    expect(layerOf).toContain('caller    default, pid 7\n');
    expect(layerOf).toContain('children  3 k8s.io/4/web\n');
    expect(layerOf).toContain(`mounts    ${mountpoint} (overlay, as lower)\n`);
    expect(await outputOf(root, 'who', `${root}/link/etc`)).toBe(layerOf);
    expect(await outputOf(root, 'blame', '1')).toBe(layerOf);
    const gone = await outputOf(root, 'who', `${at}/2`);
    expect(gone).toMatch(/state {5}removed at \S+Z, position 6, by default, pid 7\n/);
    const shown = await stratalog(['who', '-q', `${mountpoint}/etc`, '--root', root]);
    expect(shown).toEqual({ code: 3, stdout: '3\n1\n77\n', stderr: '' });
    const [upper] = jsonLines(
      (await stratalog(['who', mountpoint, '--json', '--root', root])).stdout,
    );
    expect(upper).toMatchObject({
      ...{ schema: 'stratalog.who/v1', kind: 'snapshot', id: 3, firstCaller: { pid: 7 } },
      mounts: [{ mountpoint, type: 'overlay', as: 'upper' }],
    });
  } finally {
    execFileSync('umount', [mountpoint]);
  }
  const orphan = await stratalog(['who', `${at}/77`, '--root', root]);
  expect(orphan.code).toBe(3);
  expect(orphan.stdout).toContain('No snapshot in the log owns 77.');
  for (const [word, isPath] of [
    ['test/cli/ask.test.ts', true],
    ['test/cli/absent', false],
  ] as const) {
    const named = await stratalog(['who', word, '--root', root]);
    expect(named.code).toBe(1);
    expect(named.stderr.includes('to use the path of that name, write ./ before it')).toBe(isPath);
  }
  const stranger = await stratalog(['who', '/proc', '--root', root]);
  expect({ code: stranger.code, stdout: stranger.stdout }).toEqual({ code: 1, stdout: '' });
  expect(stranger.stderr).toContain('its mount /proc (type proc) is not one of a snapshot');
});

const dockerId = '0b370ce164dd2ab1c4cff02c80d1c1caedbdea9a94d6d2dd3584f5ecb36ca4e1';
const podId = '6dd1f0a9c4e27b1c6cbaa4e1f2a0c3d5e7f90123456789abcdef0123456789ab';
const otherPodId = '6dd1f0a9c4e2f0d2b8a61c5e7f90123456789abcdef0123456789abb4e1f2a01';
/** A container of Docker Engine, and two of the CRI whose ids share a prefix. */
const containers = [
  preparing(1, `moby/1/${dockerId}-init-key`),
  prepared(1),
  committing(1, `moby/2/${dockerId}-init`),
  committed(1, `moby/2/${dockerId}-init`),
  preparing(2, `moby/3/${dockerId}`),
  prepared(2),
  preparing(3, `k8s.io/4/${podId}`),
  prepared(3),
  preparing(4, `k8s.io/5/${otherPodId}`),
  prepared(4),
];

it('tests every command that takes a snapshot', async () => {
  const leaves = [...everyCommand(shapeOf(await buildProgram()))].filter(({ arguments: all }) =>
    all.some(({ name }) => name.split('|').includes('id')),
  );
  const tried = [
    ...aboutOne.map(([command, sub]) => (sub === 'show' ? 'state show' : command)),
    'why',
  ];
  expect(leaves.map(({ path }) => path.join(' ')).sort()).toEqual(tried.sort());
});

it('finds a container by the id in docker ps and crictl ps', async () => {
  const root = await aRoot(containers);
  const found = async (id: string, mountError: string, ...command: string[]) => {
    const { code, stdout, stderr } = await stratalog([...command, id, '--root', root]);
    if (command[0] === 'mount')
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringContaining(mountError) as string,
      });
    else expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };
  for (const command of aboutOne) {
    // docker ps prints 12 characters, crictl ps 13.
    const docker = await found(
      dockerId.slice(0, 12),
      `cannot mount layer moby/3/${dockerId}: `,
      ...command,
    );
    const pod = await found(
      podId.slice(0, 13),
      `cannot mount layer k8s.io/4/${podId}: `,
      ...command,
    );
    if (command[0] === 'mount') continue;
    expect(docker).toContain(`moby/3/${dockerId}`);
    expect(docker).not.toContain('-init');
    expect(pod).toContain(podId);
  }
  const why = await outputOf(root, 'why', dockerId.slice(0, 12));
  expect(why).toMatch(/\n1 .*-init .*\n2 /);
  expect(why).toContain(
    `created locally, committed from moby/1/${dockerId}-init-key; a layer after `,
  );
  expect(why).toContain('not a layer: an active snapshot or a view');
  expect(await outputOf(root, 'log', '-q', '--key', podId.slice(0, 13))).toBe('6\n7\n');
});

it('lists the containers that share an id prefix, and picks none', async () => {
  const root = await aRoot(containers);
  for (const command of aboutOne) {
    const { code, stdout, stderr } = await stratalog([
      ...command,
      podId.slice(0, 12),
      '--root',
      root,
    ]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/"6dd1f0a9c4e2" matches 2 snapshots; give the id of one:\n/);
    for (const id of [podId, otherPodId]) expect(stderr).toContain(id);
  }
  const why = await outputOf(root, 'why', podId.slice(0, 12));
  for (const id of [podId, otherPodId]) expect(why).toContain(id);
  expect(await outputOf(root, 'log', '-q', '--key', podId.slice(0, 12))).toBe('6\n7\n8\n9\n');
});

it('queries a daemon in the same way', async () => {
  const daemon = await aDaemon();
  const client = askedOf(daemon);
  await client.prepare(`moby/1/${dockerId}-init-key`);
  await client.commit(`moby/2/${dockerId}-init`, `moby/1/${dockerId}-init-key`);
  await client.prepare(`moby/3/${dockerId}`, `moby/2/${dockerId}-init`);
  const query = (...args: string[]) => stratalog([...args, '--address', daemon.address]);
  for (const command of ['history', 'machine', 'who', 'why']) {
    const { code, stdout } = await stratalog([
      command,
      dockerId.slice(0, 12),
      '--root',
      daemon.root,
    ]);
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringContaining(`moby/3/${dockerId}`) as string,
    });
  }
  const history = await query('history', dockerId.slice(0, 12));
  expect(history).toMatchObject({ code: 0, stderr: '' });
  expect(history.stdout).toContain(`names     moby/3/${dockerId}\n`);
});

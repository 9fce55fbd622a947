/**
 * Goal: inspect shows what startup finds and does, and changes nothing. Method: the built command on
 * roots after crashes, on copies, and next to a working daemon.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { until } from '../../scripts/rig/wait.js';
import {
  aCommitted,
  aDaemon,
  aDirectory,
  appendTo,
  aRoot,
  askedOf,
  builtCli,
  buildLimitMillis,
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

interface FindingJson {
  readonly kind: string;
  readonly subject: string;
  readonly evidence: string;
  readonly action: string;
  readonly ordinary: boolean;
  readonly cause: Readonly<Record<string, unknown>> | null;
  readonly noCauseBecause: string | null;
}

interface Inspected {
  readonly code: number;
  readonly report: Readonly<Record<string, unknown>>;
  readonly findings: readonly FindingJson[];
}

async function inspected(root: string, ...args: string[]): Promise<Inspected> {
  const { code, stdout, stderr } = await stratalog(['inspect', '--json', '--root', root, ...args]);
  expect(stderr).toBe('');
  const [report = {}] = jsonLines(stdout);
  return { code, report, findings: report['findings'] as FindingJson[] };
}

const kindsOf = (findings: readonly FindingJson[]): string[] => findings.map(({ kind }) => kind);

/** All names, types, times and contents below a directory. */
function fingerprint(directory: string): string {
  return execFileSync('bash', [
    '--norc',
    '-c',
    'cd "$1" && find . -printf "%p %y %s %T@ %i\n" | sort && find . -type f -exec sha256sum {} + | sort',
    'fingerprint',
    directory,
  ]).toString();
}

/** A root after a crash, with nearly every kind of finding. */
async function aCrashedRoot(): Promise<string> {
  const root = await aRoot([
    daemonStarted(),
    preparing(1, 'n/1/base'),
    prepared(1),
    committing(1, 'n/2/base'),
    committed(1, 'n/2/base'),
    preparing(2, 'n/3/half'),
    preparing(3, 'n/4/committing'),
    prepared(3),
    committing(3, 'n/5/never'),
    preparing(4, 'n/6/going'),
    prepared(4),
    removing(4),
    preparing(5, 'n/7/deferred'),
    prepared(5),
    removing(5, true),
    preparing(6, 'n/8/writable'),
    prepared(6),
    preparing(7, 'n/9/layer'),
    prepared(7),
    committing(7, 'n/10/layer'),
    committed(7, 'n/10/layer'),
  ]);
  for (const id of [1, 3, 4, 5]) aCommitted(root, id);
  mkdirSync(join(root, 'snapshots', '99'));
  writeFileSync(join(root, 'snapshots', 'notes.txt'), 'mine');
  return root;
}

it('shows the findings and actions after a crash, and changes nothing', async () => {
  const root = await aCrashedRoot();
  const before = fingerprint(root);
  const { code, report, findings } = await inspected(root);
  expect(fingerprint(root)).toBe(before);
  expect(code).toBe(3);
  const rows = findings.map(({ kind, subject, action }) => [kind, subject, action]);
  expect(rows.sort()).toEqual(
    [
      [
        'AbandonedPreparation',
        'snapshot 2 n/3/half',
        'abandon it, and remove its directory if it is unused',
      ],
      ['UnfinishedCommit', 'snapshot 3 n/4/committing', 'return it to active'],
      ['UnfinishedRemoval', 'snapshot 4 n/6/going', 'remove its directory'],
      ['AwaitingCleanup', 'snapshot 5 n/7/deferred', 'leave it to Cleanup'],
      ['MissingDirectory', 'snapshot 6 n/8/writable', 'make an empty directory'],
      ['MissingDirectory', 'snapshot 7 n/10/layer', 'mark the layer unavailable'],
      ['OrphanDirectory', `${root}/snapshots/99`, 'remove its directory'],
      ['ForeignEntry', `${root}/snapshots/notes.txt`, 'set it aside'],
    ].sort(),
  );
  expect(findings.filter(({ ordinary }) => ordinary).map(({ kind }) => kind)).toEqual([
    'AwaitingCleanup',
  ]);
  expect(findings.every(({ evidence }) => evidence !== '')).toBe(true);
  expect(report).toMatchObject({
    schema: 'stratalog.inspect/v1',
    daemon: null,
    mounts: 'known',
    log: { epoch: 1, position: 21, checkpoint: null, refusal: null },
    snapshots: { committed: 2, active: 2, view: 0, preparing: 1, removing: 2 },
  });
});

it('prints them as a table, and exits 0 if there are none', async () => {
  const root = await aCrashedRoot();
  const { code, stdout } = await stratalog(['inspect', '--root', root]);
  expect(code).toBe(3);
  expect(stdout).toMatch(/^KIND +AT NEXT STARTUP +SUBJECT +EVIDENCE\n/);
  expect(stdout).toMatch(/\nUnfinishedCommit +return it to active +snapshot 3 n\/4\/committing +/);
  expect(stdout).toMatch(/\nsnapshots {3}2 committed .*, 2 active, 0 view; 1 being prepared, 2 /);
  expect(stdout).toMatch(/\nfindings {4}7, and 1 ordinary\n$/);

  const sound = await aRoot([daemonStarted()]);
  const nothing = await stratalog(['inspect', '--root', sound]);
  expect(nothing).toMatchObject({ code: 0, stderr: '' });
  expect(nothing.stdout).toMatch(/^root .*\n[^]*\nfindings {4}0\n$/);
});

it('shows the event that caused each finding, or that there is none', async () => {
  const root = await aCrashedRoot();
  const { findings } = await inspected(root);
  const causes = new Map(
    findings.map(({ subject, cause, noCauseBecause }) => [
      subject.replace(`${root}/`, ''),
      noCauseBecause ?? [cause?.['stream'], cause?.['type'], cause?.['position']],
    ]),
  );
  expect(causes).toEqual(
    new Map<string, unknown>([
      ['snapshot 2 n/3/half', ['snapshot-2', 'SnapshotPreparing', 5]],
      ['snapshot 3 n/4/committing', ['snapshot-3', 'SnapshotCommitting', 8]],
      ['snapshot 4 n/6/going', ['snapshot-4', 'SnapshotRemoving', 11]],
      ['snapshot 5 n/7/deferred', ['snapshot-5', 'SnapshotRemoving', 14]],
      ['snapshot 6 n/8/writable', ['snapshot-6', 'SnapshotPrepared', 16]],
      ['snapshot 7 n/10/layer', ['snapshot-7', 'SnapshotCommitted', 20]],
      ['snapshots/99', 'no event mentions it'],
      ['snapshots/notes.txt', 'no event mentions it'],
    ]),
  );
  expect(findings.filter(({ cause }) => cause === null)).toHaveLength(2);
  const { stdout } = await stratalog(['inspect', '--wide', '--root', root]);
  expect(stdout).toMatch(/^KIND .* LOST +CAUSE\n/);
  expect(stdout).toMatch(/\nUnfinishedCommit .* SnapshotCommitting at position 8, \S+Z\n/);
  expect(stdout).toMatch(/snapshots\/99 .* none: no event mentions it\n/);
});

it('finds exactly what the next startup records', { timeout: 60_000 }, async () => {
  const daemon = await aDaemon();
  const client = askedOf(daemon);
  await client.prepare('n/1/a');
  await client.prepare('n/2/b');
  await daemon.crash();
  rmSync(join(daemon.root, 'snapshots', '1'), { recursive: true });
  mkdirSync(join(daemon.root, 'snapshots', '77'));
  const { findings } = await inspected(daemon.root);
  // A running daemon has preallocated directories too, so that the plan does not list them.
  const ordinary = findings.filter(({ kind }) => kind === 'PreallocatedDirectories');
  const recorded = findings.filter(({ kind }) => kind !== 'PreallocatedDirectories');
  expect(kindsOf(recorded).sort()).toEqual(['MissingDirectory', 'OrphanDirectory']);
  expect(ordinary.length).toBeLessThanOrEqual(1);
  await daemon.start();
  await until('the orphan is gone', () => {
    return Promise.resolve(!existsSync(join(daemon.root, 'snapshots', '77')));
  });
  const { stdout } = await stratalog([
    ...['log', '--root', daemon.root, '--json', '--type', 'RecoveryPlanned'],
  ]);
  // Findings that need a check of the content are recorded later, by another event.
  const planned = jsonLines(stdout).flatMap(({ data }) => {
    return (data as { findings: readonly FindingJson[] }).findings;
  });
  const inOrder = (one: Pick<FindingJson, 'kind'>, other: Pick<FindingJson, 'kind'>) =>
    one.kind < other.kind ? -1 : 1;
  expect(planned.sort(inOrder)).toEqual(
    recorded.map(({ kind, subject, action }) => ({ kind, subject, action })).sort(inOrder),
  );
  // The plan is carried out while the daemon serves; shutdown leaves the rest to the next startup.
  await until('the plan is carried out', async () =>
    (await inspected(daemon.root)).findings.every(({ ordinary }) => ordinary),
  );
  await daemon.stop();
  const afterwards = await inspected(daemon.root);
  expect(afterwards.code).toBe(0);
  expect(afterwards.findings.filter(({ ordinary }) => !ordinary)).toEqual([]);
});

it('reports the work of a running daemon as ordinary', { timeout: 60_000 }, async () => {
  const daemon = await aDaemon();
  const client = askedOf(daemon);
  const state = { isOver: false };
  const working = (async () => {
    for (let n = 0; !state.isOver; n++) {
      await client.prepare(`n/${n}/key`);
      await client.remove(`n/${n}/key`);
    }
  })();
  try {
    for (let round = 0; round < 3; round++) {
      const { code, report, findings } = await inspected(daemon.root);
      expect(findings.filter(({ ordinary }) => !ordinary)).toEqual([]);
      expect(code).toBe(0);
      expect(report).toMatchObject({ daemon: { pid: daemon.pid }, mounts: 'known' });
    }
  } finally {
    state.isOver = true;
    await working;
  }
  await daemon.crash();
  expect((await inspected(daemon.root)).report['daemon']).toBeNull();
});

it('reports unknown mounts for a copied root', { timeout: 60_000 }, async () => {
  const daemon = await aDaemon();
  const ref = 'sha256:aa';
  await daemon.stop();
  const remote = { ref, fileSystem: 'layer-store' };
  await appendTo(daemon.root, [
    preparing(1, 'n/1/remote', { remote: { ref, fileSystems: ['layer-store'] } }),
    { stream: 'snapshot-1', type: 'RemoteMountStarted' },
    { stream: 'snapshot-1', type: 'RemoteMounted', data: { fileSystem: 'layer-store' } },
    committed(1, 'n/2/remote', { remote }),
  ]);
  aCommitted(daemon.root, 1);
  const notOrdinary = ({ findings }: Inspected): readonly FindingJson[] =>
    findings.filter(({ ordinary }) => !ordinary);
  const here = await inspected(daemon.root);
  expect(here.code).toBe(3);
  expect(kindsOf(notOrdinary(here))).toEqual(['MissingMount']);

  const copy = join(await aDirectory(), 'copy');
  await cp(daemon.root, copy, { recursive: true });
  const copied = await inspected(copy);
  expect(notOrdinary(copied)).toEqual([]);
  expect(copied).toMatchObject({
    code: 0,
    report: {
      mounts: 'unknown',
      mountsUnknownBecause: `it was last served at ${daemon.root}`,
      snapshots: { committed: 1, remote: 1 },
    },
  });
  const forced = await inspected(daemon.root, '--offline');
  expect(forced).toMatchObject({
    code: 0,
    report: { mountsUnknownBecause: '--offline was given' },
  });
});

it('reports a torn tail and does not cut it', async () => {
  const root = await aRoot([daemonStarted(), preparing(1, 'n/1/a'), prepared(1)]);
  aCommitted(root, 1);
  const segment = join(root, 'log', '00000000000000000000.seg');
  const bytes = readFileSync(segment);
  const end = bytes.findLastIndex((byte) => byte !== 0);
  bytes.writeUInt8(bytes.readUInt8(end) ^ 1, end);
  writeFileSync(segment, bytes);
  const { code, findings, report } = await inspected(root);
  expect(code).toBe(3);
  expect(findings).toMatchObject([
    {
      ...{ kind: 'torn-tail', action: 'cut it and keep a copy' },
      // The record before the tail.
      cause: { position: 1, stream: 'snapshot-1', type: 'SnapshotPreparing' },
    },
    { kind: 'AbandonedPreparation' },
  ]);
  expect(report).toMatchObject({ log: { position: 2 } });
  expect(readFileSync(segment).equals(bytes)).toBe(true);
});

it('reports that startup would be refused', async () => {
  const root = await aRoot([daemonStarted()]);
  rmSync(join(root, 'identity.json'));
  const { code, findings } = await inspected(root);
  expect(code).toBe(3);
  expect(findings[0]).toMatchObject({
    ...{ kind: 'log-missing', action: 'refuse to start', cause: null },
    noCauseBecause: 'it is about the root as a whole',
    causeUnknown: false,
  });
});

it('reports a missing log, and so does verify', async () => {
  const root = await aRoot([daemonStarted()]);
  rmSync(join(root, 'log'), { recursive: true });
  mkdirSync(join(root, 'snapshots', '7'));
  const { code, findings } = await inspected(root);
  expect(code).toBe(3);
  // A refused startup does nothing about the directories.
  expect(findings).toMatchObject([
    { kind: 'log-missing', action: 'refuse to start' },
    { kind: 'OrphanDirectory', action: 'nothing: startup is refused' },
  ]);
  const verified = await stratalog(['verify', '--root', root]);
  expect([verified.code, verified.stdout]).toEqual([3, expect.stringContaining('log-missing')]);
});

it('locates damage and exits 3', async () => {
  const root = await aRoot([...Array(40).keys()].map((n) => preparing(n + 1, `key-${n}`)));
  const segment = join(root, 'log', '00000000000000000000.seg');
  const bytes = readFileSync(segment);
  bytes.writeUInt8(bytes.readUInt8(500) ^ 1, 500);
  writeFileSync(segment, bytes);
  // Its owner is after the damage: it must not be reported as an orphan.
  mkdirSync(join(root, 'snapshots', '30', 'fs'), { recursive: true });
  const { code, findings, report } = await inspected(root);
  expect(code).toBe(3);
  expect(findings).toMatchObject([
    { action: 'refuse to start', subject: /^0+\.seg at offset \d+/ },
  ]);
  expect(report).toMatchObject({ log: { comparedWithDirectories: false } });
  const { stdout } = await stratalog(['inspect', '--root', root]);
  expect(stdout).toContain('\ndirectories not compared: ');
});

it('reports no orphans if their owners may be after damage in the newest segment', async () => {
  const root = await aRoot([
    preparing(1, 'n/1/a'),
    prepared(1),
    preparing(2, 'n/2/b'),
    prepared(2),
  ]);
  for (const id of [1, 2])
    mkdirSync(join(root, 'snapshots', String(id), 'fs'), { recursive: true });
  const segment = join(root, 'log', '00000000000000000000.seg');
  const bytes = readFileSync(segment);
  const at = bytes.indexOf('n/1/a');
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(segment, bytes);
  const { code, findings, report } = await inspected(root);
  expect(code).toBe(3);
  expect(findings).toMatchObject([{ action: 'refuse to start' }]);
  expect(report).toMatchObject({ log: { comparedWithDirectories: false } });
  for (const args of [['gc', '--dry-run'], ['gc'], ['who', join(root, 'snapshots', '2')]]) {
    const refused = await stratalog([...args, '--root', root]);
    expect([args, refused.code, refused.stdout]).toEqual([args, 3, '']);
    expect(refused.stderr).toContain('the log is damaged at position 0');
  }
  expect(readdirSync(join(root, 'snapshots'))).toHaveLength(2);
});

it('reports a log that ends before its checkpoint', { timeout: 60_000 }, async () => {
  const daemon = await aDaemon();
  await askedOf(daemon).prepare('n/1/a');
  await daemon.stop();
  const { stdout } = await stratalog(['log', '-q', '--root', daemon.root]);
  const segments = readdirSync(join(daemon.root, 'log')).filter((name) => name.endsWith('.seg'));
  const segment = join(daemon.root, 'log', segments.sort()[0] ?? '');
  const bytes = readFileSync(segment);
  const end = bytes.findLastIndex((byte) => byte !== 0);
  bytes.fill(0, Math.floor(end / 2));
  writeFileSync(segment, bytes);
  expect(stdout.split('\n').length).toBeGreaterThan(4);
  const inspection = await stratalog(['inspect', '--root', daemon.root]);
  expect(inspection.code).toBe(3);
  expect(inspection.stdout).toMatch(/\nlog {9}position 1, epoch 1\n/);
  expect(inspection.stdout).toMatch(/\ncheckpoint {2}at position \d+.*; the log ends before it\n/);
});

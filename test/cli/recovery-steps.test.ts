/**
 * Goal: after the steps of docs/recovery.md the daemon starts. Method: the steps are carried out on a
 * damaged root, and the real daemon is started on the result.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aCommitted,
  aDaemonToBe,
  aDirectory,
  appendTo,
  askedOf,
  builtCli,
  buildLimitMillis,
  cleanUp,
  daemonStarted,
  jsonLines,
  prepared,
  preparing,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const segmentsOf = (root: string): string[] =>
  readdirSync(join(root, 'log'))
    .filter((name) => name.endsWith('.seg'))
    .sort();

async function aRootOfThirty(root: string): Promise<void> {
  const ids = [...Array(30).keys()].map((n) => n + 1);
  await appendTo(root, [
    daemonStarted(),
    ...ids.flatMap((id) => [preparing(id, `n/${id}/key`), prepared(id)]),
  ]);
  mkdirSync(join(root, 'snapshots'));
  for (const id of ids) {
    aCommitted(root, id);
    mkdirSync(join(root, 'snapshots', String(id), 'work'));
  }
}

it('repairs a log whose damage no checkpoint covers', { timeout: 60_000 }, async () => {
  const daemon = await aDaemonToBe();
  const { root } = daemon;
  await aRootOfThirty(root);
  const [, second = ''] = segmentsOf(root);
  const path = join(root, 'log', second);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(1500) ^ 2, 1500);
  writeFileSync(path, bytes);
  await expect(daemon.start()).rejects.toThrow('did not start');

  const unconfirmed = await stratalog(['repair', '--root', root]);
  expect(unconfirmed.code).toBe(2);
  expect(unconfirmed.stdout).toContain('WOULD BE LOST');
  expect(readFileSync(path)).toEqual(bytes);
  const directories = readdirSync(join(root, 'snapshots'));
  const repaired = await stratalog(['repair', '--root', root, '--yes']);
  expect([repaired.code, repaired.stderr]).toEqual([0, '']);
  const inspected = await stratalog(['inspect', '--json', '--root', root]);
  const findings = jsonLines(inspected.stdout)[0]?.['findings'] as { kind: string }[];
  expect(findings.map(({ kind }) => kind)).toEqual(['KeptDirectories']);
  const again = await stratalog(['repair', '--root', root]);
  expect([again.code, again.stdout]).toEqual([0, 'the log is sound: nothing to do\n']);

  await daemon.start();
  await askedOf(daemon).prepare('n/100/new');
  await daemon.stop();
  // No directory that a container may have written to was deleted.
  expect(readdirSync(join(root, 'snapshots'))).toEqual(expect.arrayContaining(directories));
  expect((await stratalog(['verify', '--root', root])).code).toBe(0);

  // All commands report the directory as set aside until it is explicitly deleted.
  const kept = join(root, 'snapshots', '30');
  const who = await stratalog(['who', kept, '--root', root]);
  expect([who.code, who.stdout]).toEqual([0, expect.stringContaining('gc --delete 30')]);
  const gc = await stratalog(['gc', '--dry-run', '--json', '--root', root]);
  const verdict = jsonLines(gc.stdout).find(({ entry }) => entry === '30');
  expect(verdict).toMatchObject({ verdict: 'kept', reason: 'set-aside' });
  const released = await stratalog(['repair', '--root', root, '--release', '30', '--yes']);
  expect(released.stderr).toContain('use `stratalog gc --delete 30` to delete it');
  expect(released.code).toBe(2);
  const deleted = await stratalog(['gc', '-q', '--root', root, '--delete', '30', '--yes']);
  expect([deleted.code, deleted.stderr]).toEqual([0, 'stratalog: removed 1 directory\n']);
  expect(existsSync(kept)).toBe(false);
  expect(existsSync(join(root, 'snapshots', '29'))).toBe(true);
});

it('starts after identity.json was lost and written by hand', { timeout: 60_000 }, async () => {
  const daemon = await aDaemonToBe();
  const { root } = daemon;
  await daemon.start();
  await askedOf(daemon).prepare('n/1/key');
  await daemon.stop();
  const identity = join(root, 'identity.json');
  renameSync(identity, join(await aDirectory(), 'lost.json'));
  await expect(daemon.start()).rejects.toThrow('did not start');
  expect(daemon.log()).toContain('identity.json is missing');

  const [checkpoint = ''] = readdirSync(join(root, 'log')).filter((name) =>
    name.endsWith('.checkpoint'),
  );
  const [line = ''] = readFileSync(join(root, 'log', checkpoint), 'utf8').split('\n');
  const { root: uuid } = JSON.parse(line) as { root: string };
  const byHand = {
    uuid,
    created: '1700000000000000000',
    formatVersion: 1,
    epoch: 1,
    device: String(statSync(root).dev),
    writtenBy: 'stratalog 0.1.0',
  };
  writeFileSync(identity, JSON.stringify(byHand));
  await daemon.start();
  await askedOf(daemon).prepare('n/2/key');
  await daemon.stop();
  expect((await stratalog(['verify', '--root', root])).code).toBe(0);
});

it('does not accept --end-at past the end', async () => {
  const root = join(await aDirectory(), 'root');
  await aRootOfThirty(root);
  const beyond = await stratalog(['repair', '--root', root, '--end-at', '62', '--dry-run']);
  expect(beyond).toMatchObject({ code: 1, stdout: '' });
  expect(beyond.stderr).toContain('the log ends at position 61: 62 does not exist yet');
  const atEnd = await stratalog(['repair', '--root', root, '--end-at', '61', '--dry-run']);
  expect(atEnd).toMatchObject({ code: 0, stderr: '' });
});

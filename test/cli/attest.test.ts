/**
 * Goal: an attestation can be checked without Stratalog, and proves that a log was not rewritten.
 * Method: the built command with keys made by openssl. The recipe of docs/export.md is run verbatim on
 * sound and on modified attestations.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { bash, blocks, exported, golden, manyEvents } from './recipes.js';
import {
  aDirectory,
  aRoot,
  builtCli,
  buildLimitMillis,
  cleanUp,
  jsonLines,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

it.each([
  ['ed25519', '-algorithm ed25519', ''],
  ['RSA', '-algorithm RSA -pkeyopt rsa_keygen_bits:2048', ' -digest sha256'],
  ['EC', '-algorithm EC -pkeyopt ec_paramgen_curve:P-256', ' -digest sha256'],
])('signs heads with %s that openssl and verify accept', async (_, algorithm, digest) => {
  const directory = await aDirectory();
  const keys = blocks('sh').find((block) => block.includes('genpkey')) ?? 'false';
  const made = await bash(keys.replace('-algorithm ed25519', algorithm), directory);
  expect(made.code).toBe(0);
  const key = join(directory, 'key.pem');
  const heads = join(directory, 'heads.jsonl');
  const publicKey = join(directory, 'public.pem');
  let text = '';
  for (const at of ['12', '37']) {
    const { code, stdout } = await stratalog([
      'attest',
      '--root',
      golden,
      '--key',
      key,
      '--at',
      at,
    ]);
    expect(code).toBe(0);
    text += stdout;
  }
  writeFileSync(heads, text);
  const recipe = blocks('sh').find((block) => block.includes('pkeyutl')) ?? 'false';
  const line = recipe.trimEnd() + digest;
  expect(await bash(line, directory)).toMatchObject({
    code: 0,
    stdout: 'Signature Verified Successfully\n',
  });
  const against = ['verify', '--root', golden, '--against', heads, '--public-key', publicKey];
  const proved = await stratalog([...against, '--json']);
  expect(proved.code).toBe(0);
  expect(jsonLines(proved.stdout).slice(1)).toMatchObject([
    {
      schema: 'stratalog.verify-against/v1',
      position: 12,
      verdict: 'extends',
      signature: 'checked',
    },
    { schema: 'stratalog.verify-against/v1', position: 37, verdict: 'extends' },
  ]);
  writeFileSync(heads, text.replaceAll('"epoch":1', '"epoch":2'));
  expect((await bash(line, directory)).code).toBe(1);
  const changed = await stratalog(against);
  expect(changed.code).toBe(3);
  expect(changed.stdout).toContain('NOT PROVEN signature-wrong: position 12');
});

it(
  'distinguishes a truncated, rewritten or new log from one that was extended',
  { timeout: 90_000 },
  async () => {
    const directory = await aDirectory();
    execFileSync('openssl', [
      'genpkey',
      '-algorithm',
      'ed25519',
      '-out',
      join(directory, 'key.pem'),
    ]);
    const root = await aRoot(manyEvents);
    const attested = await stratalog([
      'attest',
      '--root',
      root,
      '--key',
      join(directory, 'key.pem'),
    ]);
    const heads = join(directory, 'heads.jsonl');
    writeFileSync(heads, attested.stdout);
    const prove = (of: string) => stratalog(['verify', '--root', of, '--against', heads]);
    expect(await prove(root)).toMatchObject({ code: 0 });

    const shorter = await exported(root, 'short.jsonl', '--to', '30');
    const cut = join(directory, 'cut');
    expect(await stratalog(['import', shorter, '--root', cut])).toMatchObject({ code: 0 });
    const found = await prove(cut);
    expect(found.code).toBe(3);
    expect(found.stdout).toContain('NOT PROVEN cut: position 41');
    expect(found.stdout).toContain('the log ends at position 30');

    const other = await prove(await aRoot(manyEvents));
    expect(other.code).toBe(3);
    expect(other.stdout).toContain('NOT PROVEN other-log');
    const [head] = jsonLines(attested.stdout);
    const chain = String(head?.['chain']);
    for (const [noted, code] of [
      [chain, 0],
      [`41:${chain}`, 0],
      [`40:${chain}`, 3],
      [chain.replace(/^../, chain.startsWith('00') ? '11' : '00'), 3],
    ] as const) {
      const judged = await stratalog(['verify', '--quick', '--root', root, '--against', noted]);
      expect({ noted, code: judged.code }).toEqual({ noted, code });
    }
  },
);

it('signs only the part before damage, and says so', async () => {
  const directory = await aDirectory();
  await bash('openssl genpkey -algorithm ed25519 -out key.pem', directory);
  const root = await aRoot(manyEvents);
  const [newest = ''] = readdirSync(join(root, 'log'))
    .filter((name) => name.endsWith('.seg'))
    .sort()
    .reverse();
  const path = join(root, 'log', newest);
  const bytes = readFileSync(path);
  // In the JSON of one of the last records.
  const at = bytes.lastIndexOf('SnapshotPreparing') + 30;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const attest = ['attest', '--root', root, '--key', join(directory, 'key.pem')];
  const found = await stratalog(attest);
  expect(found.code).toBe(3);
  expect(found.stderr).toContain('the log stops at position');
  const [head] = jsonLines(found.stdout);
  expect(head?.['position']).toBeLessThan(41);
  const beyond = await stratalog([...attest, '--at', '41']);
  expect(beyond).toMatchObject({ code: 2, stdout: '' });
  expect(beyond.stderr).toContain('the log stops at position');
});

it('requires the passphrase of an encrypted key', async () => {
  const directory = await aDirectory();
  await bash(
    'openssl genpkey -algorithm ed25519 -aes256 -pass pass:secret -out key.pem',
    directory,
  );
  writeFileSync(join(directory, 'passphrase'), 'secret\n');
  writeFileSync(join(directory, 'wrong'), 'guess\n');
  const key = ['attest', '--root', golden, '--key', join(directory, 'key.pem')];
  const without = await stratalog(key);
  expect(without).toMatchObject({ code: 2, stdout: '' });
  expect(without.stderr).toContain('--passphrase-file');
  const wrong = await stratalog([...key, '--passphrase-file', join(directory, 'wrong')]);
  expect(wrong).toMatchObject({ code: 2, stdout: '' });
  const right = await stratalog([...key, '--passphrase-file', join(directory, 'passphrase')]);
  expect(right).toMatchObject({ code: 0, stderr: '' });
});

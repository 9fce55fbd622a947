/** `stratalog attest`: the chain head of a log, signed, to be kept on another machine. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { reasonOf, UsageError } from '../../base/errors.js';
import { formatTime } from '../../base/units.js';
import { RELEASE } from '../../api/release.js';
import { systemClock } from '../../host/process/clock.js';
import { systemDisk } from '../../host/files/disk.js';
import { attest, KeyUnusable } from '../../export/attestation.js';
import { chainHexBefore, soundSegments } from '../../export/export-records.js';
import { RootArchive } from '../../inspect/archive/root-archive.js';
import { tellAndCount } from '../args/archive-option.js';
import { momentOf } from '../args/moment.js';
import { printing, type Output } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly key: string;
  readonly passphraseFile?: string;
  readonly at?: string;
}

export function attestCommand(): Command {
  return withRootOption(new Command('attest'))
    .description('print the chain head of a log, signed, as one line of JSON')
    .requiredOption('--key <file>', 'a private key in PEM: Ed25519, RSA or EC')
    .option('--passphrase-file <file>', 'a file with the passphrase of the key, when it has one')
    .option('--at <moment>', 'of this position or time (default: the end of the log)')
    .addHelpText(
      'after',
      `
Keep the lines away from this machine: they prove later that the past was not rewritten.

Examples:
  openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out public.pem
  stratalog attest --key key.pem >> heads.jsonl
  stratalog verify --against heads.jsonl --public-key public.pem

docs/export.md shows how openssl checks a line without Stratalog.`,
    )
    .action((flags: Flags) => printing({ trunc: false }, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  const key = await privateKeyOf(flags);
  const disk = systemDisk();
  const now = systemClock().now();
  const archive = new RootArchive(disk, root, { asksOnce: true, onDamage: tellAndCount });
  // Damage is told of also when the moment is behind it.
  await archive.bounds();
  const position = await momentOf(archive, '--at', flags.at, now);
  const sound = await soundSegments(disk, root);
  const { identity, segments } = sound;
  const whose = identity ?? segments.at(-1)?.header;
  const chain = await chainHexBefore(disk, sound, position);
  if (whose === undefined) throw new UsageError(`${root} has no log that can be read`);
  if (chain === null) {
    throw new UsageError(`position ${position} is not within the log, or is not kept any more`);
  }
  const { uuid, epoch } = whose;
  const statement = { uuid, epoch, position, chain, time: formatTime(now) };
  try {
    await out.line(attest({ ...statement, release: `stratalog ${RELEASE}` }, key));
  } catch (thrown) {
    if (!(thrown instanceof KeyUnusable)) throw thrown;
    throw new UsageError(`${flags.key}: ${thrown.message}`, { cause: thrown });
  }
}

async function privateKeyOf({ key, passphraseFile }: Flags): Promise<KeyObject> {
  const pem = await readText(key);
  const passphrase =
    passphraseFile === undefined
      ? undefined
      : (await readText(passphraseFile)).replace(/\r?\n$/, '');
  try {
    return createPrivateKey(passphrase === undefined ? { key: pem } : { key: pem, passphrase });
  } catch (cause) {
    const isLocked = /ENCRYPTED/.test(pem);
    const advice = isLocked
      ? 'it has a passphrase: give the right one in a file, with --passphrase-file'
      : 'it must be a private key in PEM, as `openssl genpkey` writes it';
    throw new UsageError(`${key} cannot be used: ${advice}`, { cause });
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new UsageError(`${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

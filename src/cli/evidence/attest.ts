/** `stratalog attest`: signs the chain head of a log, to be stored on another machine. */
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
import { reportDamageAsFinding } from '../args/archive-option.js';
import { resolveMoment } from '../args/moment.js';
import { withOutput, type Output } from '../terminal/print.js';
import { rootOf, withRootOption, type RootFlags } from '../args/root-option.js';

interface Flags extends RootFlags {
  readonly key: string;
  readonly passphraseFile?: string;
  readonly at?: string;
}

export function attestCommand(): Command {
  return withRootOption(new Command('attest'))
    .description('print the signed chain head of a log as one line of JSON')
    .requiredOption('--key <file>', 'private key in PEM format: Ed25519, RSA or EC')
    .option('--passphrase-file <file>', 'file with the passphrase of the key')
    .option('--at <moment>', 'position or time of the chain head (default: the end of the log)')
    .addHelpText(
      'after',
      `
Store the lines on another machine: they prove later that the log was not rewritten.

Examples:
  openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out public.pem
  stratalog attest --key key.pem >> heads.jsonl
  stratalog verify --against heads.jsonl --public-key public.pem

docs/export.md shows how openssl checks a line without Stratalog.`,
    )
    .action((flags: Flags) => withOutput({ trunc: false }, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const root = await rootOf(flags);
  const key = await privateKeyOf(flags);
  const disk = systemDisk();
  const now = systemClock().now();
  const archive = new RootArchive(disk, root, { asksOnce: true, onDamage: reportDamageAsFinding });
  // Reports damage even if the moment is after it.
  await archive.bounds();
  const position = await resolveMoment(archive, '--at', flags.at, now);
  const sound = await soundSegments(disk, root);
  const { identity, segments } = sound;
  const log = identity ?? segments.at(-1)?.header;
  const chain = await chainHexBefore(disk, sound, position);
  if (log === undefined) throw new UsageError(`${root} has no readable log`);
  if (chain === null) {
    throw new UsageError(`position ${position} is not in the log, or is retired`);
  }
  const { uuid, epoch } = log;
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
    const isEncrypted = /ENCRYPTED/.test(pem);
    const why = isEncrypted
      ? 'missing or wrong passphrase; give a file with it as --passphrase-file'
      : 'not a private key in PEM format, as written by `openssl genpkey`';
    throw new UsageError(`cannot use ${key}: ${why}`, { cause });
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new UsageError(`cannot read ${path}: ${reasonOf(cause)}`, { cause });
  }
}

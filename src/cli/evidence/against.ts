/** `verify --against`: parses the chain heads to check and prints the result for each. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { reasonOf, UsageError } from '../../base/errors.js';
import type { Disk } from '../../base/ports.js';
import {
  invalidSignatureReason,
  KeyUnusable,
  readAttestation,
  type Attestation,
} from '../../export/attestation.js';
import { checkHeads, type HeadCheck, type NotedHead } from '../../export/chain-heads.js';
import { visible, type Output } from '../terminal/print.js';
import { quoted } from '../args/moment.js';

interface Noted extends NotedHead {
  readonly attestation: Attestation | null;
}

/** The parsed flags `--against` and `--public-key`. */
export interface ChainHeads {
  readonly heads: readonly Noted[];
  readonly publicKey: KeyObject | null;
}

/** @throws UsageError */
export async function parseAgainst(
  text: string,
  publicKeyFile: string | undefined,
): Promise<ChainHeads> {
  const publicKey = publicKeyFile === undefined ? null : await publicKeyOf(publicKeyFile);
  const [, position, chain] = /^(?:(\d{1,16}):)?([0-9a-fA-F]{64})$/.exec(text) ?? [];
  if (chain === undefined) return { heads: await attestationsIn(text), publicKey };
  if (publicKey !== null) {
    throw new UsageError(
      '--public-key requires --against with a file of attestations: a hash has no signature',
    );
  }
  const at = position === undefined ? null : Number(position);
  const head = { position: at, chain: chain.toLowerCase(), uuid: null, attestation: null };
  return { heads: [head], publicKey };
}

async function attestationsIn(path: string): Promise<readonly Noted[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new UsageError(
      `--against ${quoted(path)}: not a chain hash (64 hex digits), a position with a chain hash ` +
        `(120:64 hex digits), or a readable file of attestations: ${reasonOf(cause)}`,
      { cause },
    );
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new UsageError(`${path} has no attestations: file is empty`);
  return lines.map((line, index) => {
    const attestation = readAttestation(line);
    if (attestation !== null) {
      const { position, chain, uuid } = attestation;
      return { position, chain, uuid, attestation };
    }
    throw new UsageError(
      `${path}, line ${index + 1}: not an attestation; it must be an unmodified line of ` +
        '`stratalog attest`',
    );
  });
}

async function publicKeyOf(path: string): Promise<KeyObject> {
  try {
    return createPublicKey(await readFile(path));
  } catch (cause) {
    throw new UsageError(
      `cannot use ${path}: not a public key in PEM format, as written by ` +
        `\`openssl pkey -pubout\`: ${reasonOf(cause)}`,
      { cause },
    );
  }
}

/** Prints for each head whether the log extends it. Returns the number of heads not proven. */
export async function checkAgainst(
  disk: Disk,
  root: string,
  { heads, publicKey }: ChainHeads,
  report: { readonly out: Output; readonly isJson: boolean },
): Promise<number> {
  const verdicts = await checkHeads(disk, root, heads);
  let unproved = 0;
  for (const [index, head] of heads.entries()) {
    const onLog = verdicts[index];
    if (onLog === undefined) continue;
    const fault = signatureFault(head, publicKey);
    const verdict: Verdict = fault === null ? onLog : { verdict: 'signature-wrong', detail: fault };
    if (verdict.verdict !== 'extends') unproved += 1;
    await printResult(head, verdict, publicKey !== null, report);
  }
  return unproved;
}

type Verdict = HeadCheck | { readonly verdict: 'signature-wrong'; readonly detail: string };

function signatureFault({ attestation }: Noted, publicKey: KeyObject | null): string | null {
  if (attestation === null || publicKey === null) return null;
  try {
    return invalidSignatureReason(attestation, publicKey);
  } catch (thrown) {
    if (!(thrown instanceof KeyUnusable)) throw thrown;
    throw new UsageError(thrown.message, { cause: thrown });
  }
}

async function printResult(
  { position, chain, attestation }: Noted,
  verdict: Verdict,
  isSignatureChecked: boolean,
  { out, isJson }: { readonly out: Output; readonly isJson: boolean },
): Promise<void> {
  const isProven = verdict.verdict === 'extends';
  const signature = attestation === null ? 'none' : isSignatureChecked ? 'checked' : 'unchecked';
  if (isJson) {
    await out.json('verify-against', {
      ...{ position: isProven ? verdict.position : position, chain },
      ...{ verdict: verdict.verdict, detail: isProven ? null : verdict.detail },
      ...{ attested: attestation?.time ?? null, signature },
    });
    return;
  }
  const suffix = {
    none: '',
    checked: `, signed ${attestation?.time ?? ''}`,
    unchecked: `, attested ${attestation?.time ?? ''}; give --public-key to check the signature`,
  }[signature];
  if (isProven) {
    const line = `extends    position ${verdict.position}, chain head ${chain}${suffix}`;
    await out.line(out.colors.green(visible(line)));
    return;
  }
  const where = position === null ? '' : `position ${position}, `;
  const line = `NOT PROVEN ${verdict.verdict}: ${where}chain head ${chain}: ${verdict.detail}`;
  await out.line(out.colors.red(visible(line)));
}

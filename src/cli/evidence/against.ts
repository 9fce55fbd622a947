/** `verify --against`: which chain heads are meant, and what is said about each. */
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

/** Everything that a command line can name, understood before the log is read. */
export interface Against {
  readonly heads: readonly Noted[];
  readonly publicKey: KeyObject | null;
}

/** @throws UsageError */
export async function againstOf(text: string, publicKeyFile: string | undefined): Promise<Against> {
  const publicKey = publicKeyFile === undefined ? null : await publicKeyOf(publicKeyFile);
  const [, position, chain] = /^(?:(\d{1,16}):)?([0-9a-fA-F]{64})$/.exec(text) ?? [];
  if (chain === undefined) return { heads: await attestationsIn(text), publicKey };
  if (publicKey !== null) {
    throw new UsageError(
      '--public-key checks the signature of an attestation, and a hash has none',
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
      `--against ${quoted(path)} is neither a chain hash (64 hex digits), nor a position with one ` +
        `(120:64 hex digits), nor a file of attestations: ${reasonOf(cause)}`,
      { cause },
    );
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length === 0) throw new UsageError(`${path} is empty: there is no attestation in it`);
  return lines.map((line, index) => {
    const attestation = readAttestation(line);
    if (attestation !== null) {
      const { position, chain, uuid } = attestation;
      return { position, chain, uuid, attestation };
    }
    throw new UsageError(
      `${path}, line ${index + 1}, is not an attestation as \`stratalog attest\` prints it: ` +
        'one line of JSON, unchanged',
    );
  });
}

async function publicKeyOf(path: string): Promise<KeyObject> {
  try {
    return createPublicKey(await readFile(path));
  } catch (cause) {
    throw new UsageError(
      `${path} cannot be used: it must be a public key in PEM, as \`openssl pkey -pubout\` writes ` +
        `it (${reasonOf(cause)})`,
      { cause },
    );
  }
}

/** Says of each head whether the log extends it; answers how many it could not prove. */
export async function judgeAgainst(
  disk: Disk,
  root: string,
  { heads, publicKey }: Against,
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
    await say(head, verdict, publicKey !== null, report);
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

async function say(
  { position, chain, attestation }: Noted,
  verdict: Verdict,
  isSignatureChecked: boolean,
  { out, isJson }: { readonly out: Output; readonly isJson: boolean },
): Promise<void> {
  const isProved = verdict.verdict === 'extends';
  const signature = attestation === null ? 'none' : isSignatureChecked ? 'checked' : 'unchecked';
  if (isJson) {
    await out.json('verify-against', {
      ...{ position: isProved ? verdict.position : position, chain },
      ...{ verdict: verdict.verdict, detail: isProved ? null : verdict.detail },
      ...{ attested: attestation?.time ?? null, signature },
    });
    return;
  }
  const told = {
    none: '',
    checked: `, signed ${attestation?.time ?? ''}`,
    unchecked: `, attested ${attestation?.time ?? ''}; give --public-key to check the signature`,
  }[signature];
  if (isProved) {
    const line = `extends    position ${verdict.position}, chain head ${chain}${told}`;
    await out.line(out.colors.green(visible(line)));
    return;
  }
  const where = position === null ? '' : `position ${position}, `;
  const line = `NOT PROVEN ${verdict.verdict}: ${where}chain head ${chain}: ${verdict.detail}`;
  await out.line(out.colors.red(visible(line)));
}

/**
 * An attestation: where the hash chain of a log stood, as one line of JSON, signed with a key of
 * the operator's. What is signed is the line without its signature, so that anybody can check it
 * (docs/export.md). Knows texts and keys; what a log says is asked elsewhere.
 */
import { createHash, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { parseBody } from '../log/format/codec.js';

export interface Statement {
  readonly uuid: string;
  readonly epoch: number;
  /** The first position that is not spoken of. */
  readonly position: number;
  /** Chain hash of the record before it. */
  readonly chain: string;
  /** When it was signed, RFC 3339. */
  readonly time: string;
  /** The release that signed. */
  readonly release: string;
}

export interface Attestation extends Statement {
  /** `sha256:` and the SHA-256 of the public key in DER (SPKI). */
  readonly key: string;
  /** In base64. */
  readonly signature: string;
}

/** The key is of a kind that nothing is signed with here. */
export class KeyUnusable extends Error {
  override readonly name = 'KeyUnusable';
}

/** The line, without its newline. Fails with KeyUnusable. */
export function attest(statement: Statement, privateKey: KeyObject): string {
  const signed = signedText(statement, fingerprintOf(createPublicKey(privateKey)));
  const signature = sign(digestFor(privateKey), Buffer.from(signed), privateKey);
  return `${signed.slice(0, -1)},"signature":"${signature.toString('base64')}"}`;
}

/** What is signed, to the byte. */
function signedText(statement: Statement, key: string): string {
  const { uuid, epoch, position, chain, time, release } = statement;
  return JSON.stringify({
    schema: 'stratalog.attestation/v1',
    ...{ uuid, epoch, position, chain, time, release, key },
  });
}

function fingerprintOf(publicKey: KeyObject): string {
  const der = publicKey.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(der).digest('hex')}`;
}

/** Edwards curves hash by themselves. */
const digests: ReadonlyMap<string, 'sha256' | null> = new Map([
  ['ed25519', null],
  ['ed448', null],
  ['rsa', 'sha256'],
  ['ec', 'sha256'],
]);

function digestFor(key: KeyObject): 'sha256' | null {
  const kind = key.asymmetricKeyType ?? 'secret';
  const digest = digests.get(kind);
  if (digest !== undefined) return digest;
  throw new KeyUnusable(
    `a key of the kind ${kind} cannot be used: ` +
      'take Ed25519, RSA or EC (`openssl genpkey -algorithm ed25519`)',
  );
}

/** Null when the line is no attestation of this format, to the letter. */
export function readAttestation(line: string): Attestation | null {
  let fields: ReadonlyMap<string, unknown>;
  try {
    fields = new Map(Object.entries(parseBody(line)));
  } catch {
    return null;
  }
  const text = (key: string): string => String(fields.get(key));
  const attestation: Attestation = {
    uuid: text('uuid'),
    epoch: Number(fields.get('epoch')),
    position: Number(fields.get('position')),
    chain: text('chain'),
    time: text('time'),
    release: text('release'),
    key: text('key'),
    signature: text('signature'),
  };
  const { key, signature } = attestation;
  const again = `${signedText(attestation, key).slice(0, -1)},"signature":${JSON.stringify(signature)}}`;
  const isSound =
    again === line &&
    Number.isSafeInteger(attestation.position) &&
    attestation.position >= 0 &&
    /^[0-9a-f]{64}$/.test(attestation.chain);
  return isSound ? attestation : null;
}

/** What is wrong with the signature; null when it is of this key and of this line. */
export function faultOfSignature(attestation: Attestation, publicKey: KeyObject): string | null {
  const fingerprint = fingerprintOf(publicKey);
  if (attestation.key !== fingerprint) {
    return `it was signed with the key ${attestation.key}, and the one given is ${fingerprint}`;
  }
  const signed = Buffer.from(signedText(attestation, attestation.key));
  const signature = Buffer.from(attestation.signature, 'base64');
  // As `openssl` reads it: nothing may be hidden in the text that decoding passes over.
  const isWhole = signature.toString('base64') === attestation.signature;
  const isOfKey = isWhole && verify(digestFor(publicKey), signed, publicKey, signature);
  return isOfKey ? null : 'its signature is not of this text: it was changed';
}

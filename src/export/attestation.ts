/**
 * An attestation: the chain head of a log as one line of JSON, signed with a key of the operator.
 * The signature covers the line without its signature field, so any tool can check it
 * (docs/export.md). Handles text and keys only; it does not read logs.
 */
import { createHash, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { parseBody } from '../log/format/codec.js';

export interface Statement {
  readonly uuid: string;
  readonly epoch: number;
  /** The first position that the statement does not cover. */
  readonly position: number;
  /** Chain hash of the record before `position`. */
  readonly chain: string;
  /** Time of signing, RFC 3339. */
  readonly time: string;
  /** The release that signed it. */
  readonly release: string;
}

export interface Attestation extends Statement {
  /** `sha256:` and the SHA-256 of the public key in DER (SPKI). */
  readonly key: string;
  /** Base64. */
  readonly signature: string;
}

/** The key type is not supported for signing. */
export class KeyUnusable extends Error {
  override readonly name = 'KeyUnusable';
}

/** Returns the line without its newline. Fails with KeyUnusable. */
export function attest(statement: Statement, privateKey: KeyObject): string {
  const signed = signedText(statement, fingerprintOf(createPublicKey(privateKey)));
  const signature = sign(digestFor(privateKey), Buffer.from(signed), privateKey);
  return `${signed.slice(0, -1)},"signature":"${signature.toString('base64')}"}`;
}

/** The exact bytes that are signed. */
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

/** Null for Edwards curves: they hash internally. */
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
    `unsupported key type ${kind}: ` +
      'use Ed25519, RSA or EC (`openssl genpkey -algorithm ed25519`)',
  );
}

/** Null unless the line is byte for byte an attestation of this format. */
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
  const encoded = `${signedText(attestation, key).slice(0, -1)},"signature":${JSON.stringify(signature)}}`;
  const isSound =
    encoded === line &&
    Number.isSafeInteger(attestation.position) &&
    attestation.position >= 0 &&
    /^[0-9a-f]{64}$/.test(attestation.chain);
  return isSound ? attestation : null;
}

/** Why the signature is invalid; null if this key signed this line. */
export function invalidSignatureReason(
  attestation: Attestation,
  publicKey: KeyObject,
): string | null {
  const fingerprint = fingerprintOf(publicKey);
  if (attestation.key !== fingerprint) {
    return `signed with key ${attestation.key}, but the given key is ${fingerprint}`;
  }
  const signed = Buffer.from(signedText(attestation, attestation.key));
  const signature = Buffer.from(attestation.signature, 'base64');
  // Strict base64, as `openssl` requires: Node ignores characters outside the alphabet.
  const isCanonical = signature.toString('base64') === attestation.signature;
  const isValid = isCanonical && verify(digestFor(publicKey), signed, publicKey, signature);
  return isValid ? null : 'the signature does not match the text: one of them was modified';
}

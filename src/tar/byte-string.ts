/**
 * Names and attribute values of an archive as byte strings: one character a byte (latin1). They
 * need not be UTF-8, so they stay bytes from the header to the system call.
 */

/** One character for each byte, 0 to 255. */
export type ByteString = string;

export const bytesOf = (text: ByteString): Buffer => Buffer.from(text, 'latin1');
export const byteString = (bytes: Uint8Array | string): ByteString =>
  Buffer.from(typeof bytes === 'string' ? Buffer.from(bytes, 'utf8') : bytes).toString('latin1');

/** The name as text, for messages. */
export const readable = (text: ByteString): string => bytesOf(text).toString('utf8');

/** A stream of bytes as the entries of a tar archive, for readers that take one after the other. */
import { TarReader } from './reader.js';
import type { TarHeader, TarPart } from './reader.js';

export interface TarEntry {
  readonly header: TarHeader;
  /** Can be read until the next entry is requested; what is left is skipped then. */
  readonly content: AsyncIterable<Uint8Array>;
}

/**
 * Reads a source to its end, including bytes after the end of the archive.
 *
 * Fails  TarInvalid, and whatever the source rejects with
 */
export async function* tarEntries(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const reader = new TarReader();
  const parts = tarParts(reader, source);
  try {
    for (let next = await parts.next(); next.done !== true; next = await parts.next()) {
      if (next.value.kind !== 'entry') continue;
      yield { header: next.value.header, content: contentOf(parts) };
      reader.skip();
    }
  } finally {
    await parts.return(undefined);
  }
}

/** All parts of the archive in a source, which is read to its end. */
export async function* tarParts(
  reader: TarReader,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<TarPart, void, undefined> {
  for await (const chunk of source) yield* reader.read(chunk);
  yield* reader.finish();
}

async function* contentOf(parts: AsyncIterator<TarPart, void>): AsyncGenerator<Uint8Array> {
  for (let next = await parts.next(); next.done !== true; next = await parts.next()) {
    if (next.value.kind === 'content') yield next.value.bytes;
    else if (next.value.kind === 'zeros') yield* zeros(next.value.count);
    else return;
  }
}

const zeroPiece = new Uint8Array(64 * 1024);

/** So many zeros, in pieces of at most 64 KiB. */
export function* zeros(count: number): Generator<Uint8Array> {
  for (let left = count; left > 0; left -= zeroPiece.length) {
    yield left < zeroPiece.length ? zeroPiece.subarray(0, left) : zeroPiece;
  }
}

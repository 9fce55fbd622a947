/** Reads the entries of an exported tar. */
import { ExportInvalid } from '../../export/export-lines.js';
import type { ArchiveEntry } from '../../export/import/import-tar.js';
import { tarEntries } from '../../tar/entries.js';
import { TarInvalid } from '../../tar/header.js';

/** Fails with ExportInvalid if the archive is invalid, between entries or within one. */
export async function* readTar(input: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  for await (const { header, content } of asExport(tarEntries(input))) {
    yield { type: header.type, name: header.name, size: header.size, content: asExport(content) };
  }
}

/** Converts TarInvalid to ExportInvalid. */
async function* asExport<Part>(parts: AsyncIterable<Part>): AsyncGenerator<Part> {
  try {
    yield* parts;
  } catch (cause) {
    if (!(cause instanceof TarInvalid)) throw cause;
    throw new ExportInvalid(`cannot read tar: ${cause.message}`, { cause });
  }
}

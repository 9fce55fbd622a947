/** The tar of an export as its entries. */
import { ExportInvalid } from '../../export/export-lines.js';
import type { ArchiveEntry } from '../../export/import/import-tar.js';
import { tarEntries } from '../../tar/entries.js';
import { TarInvalid } from '../../tar/header.js';

/** Fails with ExportInvalid when the archive cannot be read, between entries or within one. */
export async function* readTar(input: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  for await (const { header, content } of ofExport(tarEntries(input))) {
    yield { type: header.type, name: header.name, size: header.size, content: ofExport(content) };
  }
}

/** Passes all on; what makes a tar invalid makes an export invalid. */
async function* ofExport<Part>(parts: AsyncIterable<Part>): AsyncGenerator<Part> {
  try {
    yield* parts;
  } catch (cause) {
    if (!(cause instanceof TarInvalid)) throw cause;
    throw new ExportInvalid(`the tar cannot be read: ${cause.message}`, { cause });
  }
}

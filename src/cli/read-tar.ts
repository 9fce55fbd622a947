/** The reader of a layer's tar, which trusts no archive, for the tar of an export. */
import { LayerTarInvalid, readTarEntries } from '../filesystems/layer-store/tar-entries.js';
import { ExportInvalid } from '../inspect/export-lines.js';
import type { ArchiveEntry } from '../maintenance/import-tar.js';

/** Fails with ExportInvalid when the archive cannot be read, between entries or within one. */
export async function* readTar(input: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  for await (const entry of ofExport(readTarEntries(input))) {
    yield { ...entry, content: ofExport(entry.content) };
  }
}

/** Passes all on; what the reader says of a layer is said of an export. */
async function* ofExport<Part>(parts: AsyncIterable<Part>): AsyncGenerator<Part> {
  try {
    yield* parts;
  } catch (cause) {
    if (!(cause instanceof LayerTarInvalid)) throw cause;
    const why = cause.message
      .replace(/^the layer is/, 'it is')
      .replace(/(that|which) layers do not have$/, 'which no export has');
    throw new ExportInvalid(`the tar cannot be read: ${why}`, { cause });
  }
}

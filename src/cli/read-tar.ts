/** The reader of a layer's tar, which trusts no archive, for the tar of an export. */
import { LayerTarInvalid, readTarEntries } from '../filesystems/layer-store/tar-entries.js';
import { ExportInvalid } from '../inspect/export-lines.js';
import type { ArchiveEntry } from '../maintenance/import-tar.js';

/** Fails with ExportInvalid when the archive cannot be read. */
export async function* readTar(input: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  try {
    yield* readTarEntries(input);
  } catch (cause) {
    if (!(cause instanceof LayerTarInvalid)) throw cause;
    const why = cause.message.replace(/^the layer is/, 'it is');
    throw new ExportInvalid(`the tar cannot be read: ${why}`, { cause });
  }
}

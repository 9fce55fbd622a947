/**
 * The error for a malformed export. In a file of its own, because exit codes need the class and no
 * codec.
 */

/** An export that cannot be what `export` wrote. */
export class ExportInvalid extends Error {
  override readonly name = 'ExportInvalid';
}

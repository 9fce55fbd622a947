/** Separate from the codec because the exit codes need only this class. */

/** The input is not an export that `stratalog export` wrote. */
export class ExportInvalid extends Error {
  override readonly name = 'ExportInvalid';
}

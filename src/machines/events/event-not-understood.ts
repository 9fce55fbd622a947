/**
 * The error for an event that cannot be decoded. In a file of its own, because exit codes need the
 * class and no schema.
 */

/** An event that this release does not know, or whose body is not what its type promises. */
export class EventNotUnderstood extends Error {
  override readonly name = 'EventNotUnderstood';
  /** True when a newer release wrote it; false when the body is malformed. */
  readonly isNewer: boolean;

  constructor(message: string, isNewer: boolean, options?: ErrorOptions) {
    super(message, options);
    this.isNewer = isNewer;
  }
}

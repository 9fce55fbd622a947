/** The daemon, or its log, is not as it promises to be. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

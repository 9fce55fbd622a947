/** The reader of our output has gone, as `| head` does. A quiet end, not a failure. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

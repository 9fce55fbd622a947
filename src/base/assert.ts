/**
 * Assertions that stay on in production. A failed one is a fault of this program, never of its
 * input: the daemon stops rather than append an event that rests on a false belief.
 */
export class InvariantBroken extends Error {
  override readonly name = 'InvariantBroken';
}

/** `detail` is a function so that a message costs nothing while the assertion holds. */
export function assert(
  condition: boolean,
  message: string,
  detail?: () => string,
): asserts condition {
  if (!condition) throw new InvariantBroken(detail ? `${message}: ${detail()}` : message);
}

/** The default branch of an exhaustive switch over a union. */
export function assertNever(value: never): never {
  throw new InvariantBroken(`unexpected case: ${JSON.stringify(value)}`);
}

/**
 * How much of what is slow on purpose a run does. `npm test` does a share of it, always the same, so
 * that a failure can be repeated; `npm run test:full` does all of it (`STRATALOG_TESTS=full`).
 */
const isFull = process.env['STRATALOG_TESTS'] === 'full';

/** Every n-th of the cases, the first and the last among them. */
export function share<Case>(cases: readonly Case[], every: number): readonly Case[] {
  if (isFull) return cases;
  return cases.filter((_, index) => index % every === 0 || index === cases.length - 1);
}

/** How many rounds of something that is drawn at random. */
export const rounds = (some: number, all: number): number => (isFull ? all : some);

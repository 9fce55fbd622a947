/**
 * Old bodies become current ones here, one step a version, so that the rest of the program knows
 * only the newest shape. An upcaster, once released, is never edited.
 */
type Upcaster = (body: unknown) => unknown;

/** By event type; the entry at index n turns version n + 1 into version n + 2. */
const upcasters: Readonly<Record<string, readonly Upcaster[]>> = {};

/** Throws when a step is missing: that release could not have written this log. */
export function upcast(type: string, from: number, to: number, body: unknown): unknown {
  let current = body;
  for (let version = from; version < to; version += 1) {
    const step = upcasters[type]?.[version - 1];
    if (step === undefined) throw new Error(`no upcaster for ${type} from version ${version}`);
    current = step(current);
  }
  return current;
}

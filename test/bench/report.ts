/** Measurements as rows: numbers by candidate, turn by turn, and how they are printed. */
import { cpus, release } from 'node:os';
import { tableLines } from '../../src/cli/terminal/table.js';
import { type Ratio, ratioOf } from './ratio.js';

export interface Row {
  readonly what: string;
  /** What was promised: of the ratio to the first candidate, or of the value where it is alone. */
  readonly limit: string | null;
  /** By candidate; where there are several, the first is what the others are divided by. */
  readonly ratios: Readonly<Record<string, Ratio>>;
}

/** `numbers`: by candidate, one a turn. */
export function rowOf(
  what: string,
  numbers: ReadonlyMap<string, readonly number[]>,
  limit: string | null = null,
): Row {
  const [first = []] = numbers.values();
  return {
    what,
    limit,
    ratios: Object.fromEntries([...numbers].map(([name, own]) => [name, ratioOf(own, first)])),
  };
}

export function machine(): Readonly<Record<string, unknown>> {
  return {
    node: process.version,
    kernel: release(),
    cpus: cpus().length,
    model: cpus()[0]?.model ?? 'unknown',
  };
}

export function printTable(rows: readonly Row[], names: readonly string[]): void {
  const [first = '', ...others] = names;
  const head = ['', 'must reach', first, ...others.flatMap((name) => [name, 'ratio (min … max)'])];
  const lines = rows.map(({ what, limit, ratios }) => {
    const cells = others.flatMap((name) => {
      const ratio = ratios[name];
      if (ratio === undefined) return ['', ''];
      const { value, median, min, max } = ratio;
      const isAlone = ratios[first] === undefined;
      const spread = `${median.toFixed(2)} (${min.toFixed(2)} … ${max.toFixed(2)})`;
      return [shown(value), isAlone ? '' : spread];
    });
    return [what, limit ?? '', shown(ratios[first]?.value), ...cells];
  });
  process.stdout.write(
    `${[...tableLines(head, lines)].join('\n')}\n${JSON.stringify(machine())}\n`,
  );
}

const shown = (value: number | undefined): string =>
  value === undefined ? '' : value.toFixed(value < 10 ? 2 : 0);

/**
 * Rows in columns that are as wide as their cells. Not done with a library: one that also wraps and
 * draws borders takes half a minute for twenty thousand rows.
 */
import stringWidth from 'string-width';

const GAP = '   ';
/** A wider cell overflows its column: one key of 64 KiB must not pad all other rows. */
const COLUMN_MAX = 100;
/** In UTF-16 units, including colors. A longer cell overflows its column, so it is not measured. */
const MEASURED_MAX = 1024;

/**
 * A heading and rows as lines, with columns separated by blanks. Colors take no width, wide
 * characters take two columns. Lines are produced lazily.
 */
export function* tableLines(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): Generator<string, void, undefined> {
  const widths: number[] = [];
  for (const row of [head, ...rows]) {
    for (const [index, cell] of row.entries()) {
      const width = columnsOf(cell);
      widths[index] = Math.max(widths[index] ?? 0, width <= COLUMN_MAX ? width : 0);
    }
  }
  yield lineOf(head, widths);
  for (const row of rows) yield lineOf(row, widths);
}

function lineOf(row: readonly string[], widths: readonly number[]): string {
  let line = '';
  let blanks = '';
  for (const [index, cell] of row.entries()) {
    if (cell !== '') {
      line += blanks + cell;
      blanks = '';
    }
    blanks += ' '.repeat(Math.max((widths[index] ?? 0) - columnsOf(cell), 0)) + GAP;
  }
  return line;
}

/** Latin letters and box-drawing characters: one column each. A fast path for most cells. */
const NARROW = /^[ -~\u00c0-\u02ff\u2500-\u257f]*$/;

function columnsOf(cell: string): number {
  if (cell.length > MEASURED_MAX) return Infinity;
  return NARROW.test(cell) ? cell.length : stringWidth(cell);
}

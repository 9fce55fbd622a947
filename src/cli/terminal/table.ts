/**
 * Rows in columns, as wide as what stands in them. Laid out here because a library that also wraps
 * and draws borders takes half a minute for twenty thousand rows.
 */
import stringWidth from 'string-width';

const GAP = '   ';
/** A wider cell stands out of its column: one key of 64 KiB must not pad all other rows. */
const COLUMN_MAX = 100;
/** In UTF-16 units, colours included. What is longer is no column: it is not measured. */
const MEASURED_MAX = 1024;

/**
 * Lines of columns separated by blanks, without borders, under a heading. Colours take no room,
 * wide characters take two columns. Each line is made when it is asked for.
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

/** Latin letters and what branches are drawn with: one column each, and most cells are of them. */
const NARROW = /^[ -~\u00c0-\u02ff\u2500-\u257f]*$/;

function columnsOf(cell: string): number {
  if (cell.length > MEASURED_MAX) return Infinity;
  return NARROW.test(cell) ? cell.length : stringWidth(cell);
}

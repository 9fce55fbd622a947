/**
 * What a session shows is of one machine and one minute. Here paths, hosts and times of a run
 * become those of the page, and back; and two runs are compared by what does not vary.
 */

/** How a name on this machine is written on the page. */
export interface Alias {
  readonly real: string;
  readonly page: string;
}

/** As the page writes it: aliases replaced, times moved, digests short, tables laid out again. */
export function forPage(output: string, aliases: readonly Alias[], shiftMillis: number): string {
  const inOrder = longestFirst(aliases, 'real');
  const written = (text: string): string =>
    inOrder
      .reduce((so, { real, page }) => so.replaceAll(real, page), text)
      .replaceAll(/\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b/g, '$1')
      .replaceAll(moment, (time) => moved(time, shiftMillis));
  const lines = output.split('\n');
  const page: string[] = [];
  for (let at = 0; at < lines.length;) {
    const height = isHead(lines[at] ?? '') ? heightOf(lines, at) : 0;
    if (height > 1) page.push(...laidOut(lines.slice(at, at + height), written));
    else page.push(written(lines[at] ?? ''));
    at += Math.max(1, height);
  }
  return page.join('\n');
}

/** Headings in capitals, with three blanks between them, as our tables have them. */
const isHead = (line: string): boolean =>
  /^( {4})?[A-Z]+( [A-Z]+)*( {3,}[A-Z]+( [A-Z]+)*)+$/.test(line);

/** A table ends at an empty line, or with the output. */
function heightOf(lines: readonly string[], from: number): number {
  const end = lines.indexOf('', from);
  return (end < 0 ? lines.length : end) - from;
}

function laidOut(lines: readonly string[], written: (text: string) => string): string[] {
  const heads = [...(lines[0] ?? '').matchAll(/(?<=^| {3})[A-Z]/g)].map(({ index }) => index);
  // A first column may have no head.
  const starts = heads[0] === 0 ? heads : [0, ...heads];
  const rows = lines.map((line) =>
    starts.map((start, column) => written(line.slice(start, starts[column + 1]).trimEnd())),
  );
  const widths = starts.map((_, column) =>
    Math.max(...rows.map((cells) => (cells[column] ?? '').length)),
  );
  return rows.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd(),
  );
}

/** A command of the page as it is run here. */
export function forHere(command: string, aliases: readonly Alias[], shiftMillis: number): string {
  let text = command;
  for (const { real, page } of longestFirst(aliases, 'page')) text = text.replaceAll(page, real);
  return text.replaceAll(moment, (time) => moved(time, -shiftMillis));
}

/**
 * What two runs have in common: words, structure, numbers of one digit. Times, durations, sizes,
 * digests, process ids, late positions and the width of columns are left out.
 */
export function comparable(page: string): string {
  return page
    .replaceAll(moment, 'TIME')
    .replaceAll(/extract-\d+-\S{4}/g, 'extract-NAME')
    .replaceAll(/\b[0-9a-f-]{36}\b/g, 'UUID')
    .replaceAll(/\b(sha256:)?[0-9a-f]{8,64}\b…?/g, 'DIGEST')
    .replaceAll(/\b\d+(\.\d+)? ?(ns|µs|ms|s|min|m|h)\b( \d+ ?(ms|s|min|m)\b)*/g, 'DURATION')
    .replaceAll(/\b\d+(\.\d+)? ?(B|KiB|MiB|GiB|bytes)\b/g, 'SIZE')
    .replaceAll(/\d{2,}/g, 'NUMBER')
    .replaceAll(/[ \t]+/g, ' ')
    .replaceAll(/-{3,}/g, '---');
}

const moment = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g;

/** The digits behind the second stay: the shift is one of whole seconds. */
function moved(time: string, shiftMillis: number): string {
  const [, second = '', fraction = ''] = /^(.{19})(.*)Z$/.exec(time) ?? [];
  const there = new Date(Date.parse(`${second}Z`) + shiftMillis);
  return `${there.toISOString().slice(0, 19)}${fraction}Z`;
}

const longestFirst = (aliases: readonly Alias[], side: keyof Alias): Alias[] =>
  [...aliases].sort((one, other) => other[side].length - one[side].length);

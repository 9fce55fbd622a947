/**
 * What a session shows is of one machine and one minute. Here paths, hosts and times of a run
 * become those of the page, and back; and two runs are compared by what does not vary.
 */

/** How a name on this machine is written on the page. */
export interface Alias {
  readonly real: string;
  readonly page: string;
}

/** As the page writes it: aliases replaced, times moved, columns kept. */
export function forPage(output: string, aliases: readonly Alias[], shiftMillis: number): string {
  let text = output;
  for (const { real, page } of longestFirst(aliases, 'real')) {
    text = text.replaceAll(new RegExp(`${escaped(real)}(\\S*)( {2,})?`, 'g'), (_, rest, gap) => {
      const missing = typeof gap === 'string' ? real.length - page.length : 0;
      return `${page}${String(rest)}${typeof gap === 'string' ? gap : ''}${' '.repeat(Math.max(0, missing))}`;
    });
  }
  return text.replaceAll(moment, (time) => moved(time, shiftMillis)).replaceAll(/ +$/gm, '');
}

/** A command of the page as it is run here. */
export function forHere(command: string, aliases: readonly Alias[], shiftMillis: number): string {
  let text = command;
  for (const { real, page } of longestFirst(aliases, 'page')) text = text.replaceAll(page, real);
  return text.replaceAll(moment, (time) => moved(time, -shiftMillis));
}

/**
 * What two runs have in common: words, structure, small numbers. Times, durations, sizes, digests,
 * process ids and the width of columns are left out.
 */
export function comparable(page: string): string {
  return page
    .replaceAll(moment, 'TIME')
    .replaceAll(/extract-\d+-\S{4}/g, 'extract-NAME')
    .replaceAll(/\b[0-9a-f-]{36}\b/g, 'UUID')
    .replaceAll(/\b(sha256:)?[0-9a-f]{8,64}\b…?/g, 'DIGEST')
    .replaceAll(/\b\d+(\.\d+)? ?(ns|µs|ms|s|min|m|h)\b( \d+ ?(ms|s|min|m)\b)*/g, 'DURATION')
    .replaceAll(/\b\d+(\.\d+)? ?(B|KiB|MiB|GiB|bytes)\b/g, 'SIZE')
    .replaceAll(/\d{3,}/g, 'NUMBER')
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

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');

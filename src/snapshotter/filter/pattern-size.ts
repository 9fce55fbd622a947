/**
 * How large a regular expression becomes once its repetitions are written out: `x{1000}` is seven
 * characters and a thousand instructions, and both compiling and matching take their time for
 * each. Reads the pattern as RE2 does, without recursion, and never refuses anything: what is no
 * regular expression gets some number, and 0 where one repetition directly repeats another, which
 * RE2 does not compile.
 *
 * Source: the syntax of RE2, github.com/google/re2/wiki/Syntax.
 */

/** A repetition, greedy or not; anything else in braces is plain text. */
const REPETITION = /(?:[*+?]|\{(\d+)(?:,(\d*))?\})\??/y;
/** What stands for one character, or for none: an escape, or a class in brackets. */
const ESCAPE = /\\(?:[pP](?:\{[^}]*\}|[^])|x(?:\{[^}]*\}|..)|[^])/uy;
/** Not an atom: a repetition behind it repeats what stands before it. */
const FLAGS = /\(\?[A-Za-z-]*\)/y;
const QUOTED = /\\Q([^]*?)(?:\\E|$)/y;
const CLASS = /\[\^?\]?(?:\[:[^\]]*:\]|\\[^]|[^\]\\])*\]/y;

/** An upper bound of the instructions that a pattern compiles to; Infinity is possible. */
export function patternSize(pattern: string): number {
  const outer: number[] = [];
  let total = 0;
  let last = 0;
  let at = 0;
  /** Where the latest repetition ended. */
  let repeatedUpTo = -1;
  const take = (syntax: RegExp): RegExpExecArray | null => {
    syntax.lastIndex = at;
    const taken = syntax.exec(pattern);
    at += taken?.[0].length ?? 0;
    return taken;
  };
  const atom = (size: number): void => {
    total += last;
    last = size;
  };
  while (at < pattern.length) {
    const quoted = take(QUOTED);
    if (quoted !== null) {
      const length = quoted[1]?.length ?? 0;
      // What follows repeats the last character alone.
      if (length > 1) atom(length - 1);
      if (length > 0) atom(1);
      continue;
    }
    if (take(FLAGS) !== null) continue;
    if (take(ESCAPE) !== null || take(CLASS) !== null) {
      atom(1);
      continue;
    }
    const begins = at;
    const repetition = take(REPETITION);
    if (repetition !== null) {
      if (begins === repeatedUpTo) return 0;
      last = repeated(last, repetition);
      repeatedUpTo = at;
      continue;
    }
    const character = pattern.charAt(at);
    at += 1;
    if (character === '(') {
      outer.push(total + last);
      total = last = 0;
    } else if (character === ')') {
      // An empty group, or an empty alternative, still has an instruction.
      const inside = Math.max(1, total + last);
      total = outer.pop() ?? 0;
      last = inside + 2;
    } else {
      atom(character === '|' ? 2 : 1);
    }
  }
  return outer.reduce((sum, size) => sum + size, total + last);
}

/** Each time that may be left out costs an instruction, and so does an open end. */
function repeated(size: number, [, least, most]: RegExpExecArray): number {
  if (least === undefined) return size + 1;
  const times = Number(least);
  if (most === undefined) return Math.max(1, size * times);
  if (most === '') return size * Math.max(1, times) + 1;
  return Math.max(1, size * times + (size + 1) * Math.max(0, Number(most) - times));
}

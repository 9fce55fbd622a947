/** Reads what a Go test binary prints with `-test.v` (Go's testing package, as `go doc test2json` describes it). */

export interface CaseResult {
  readonly outcome: string;
  /** Its own lines: messages come before the result, also those of parallel cases in between. */
  readonly output: string;
}

/** Of the subtests of one test, by their names. A case that never ended is absent. */
export function casesOf(output: string, test: string): ReadonlyMap<string, CaseResult> {
  const outcomes = new Map<string, string>();
  const lines = new Map<string, string[]>();
  let current = '';
  for (const line of output.split('\n')) {
    const began = /^=== (?:RUN|PAUSE|CONT|NAME)\s+(\S+)/.exec(line);
    const ended = /^\s*--- (PASS|FAIL|SKIP): (\S+) \(/.exec(line);
    current = began?.[1] ?? ended?.[2] ?? current;
    if (!current.startsWith(`${test}/`)) continue;
    const name = current.slice(test.length + 1);
    if (began === null) lines.set(name, [...(lines.get(name) ?? []), line]);
    if (ended?.[1] !== undefined) outcomes.set(name, ended[1]);
  }
  return new Map(
    [...outcomes].map(([name, outcome]) => [
      name,
      { outcome, output: (lines.get(name) ?? []).join('\n') },
    ]),
  );
}

/** The reason of a failed case is shown, wherever Go prints it. */
import { expect, it } from 'vitest';
import { casesOf } from './go-test-output.js';

const output = `=== RUN   TestSnapshotter
=== RUN   TestSnapshotter/Basic
=== PAUSE TestSnapshotter/Basic
=== RUN   TestSnapshotter/Remove
=== PAUSE TestSnapshotter/Remove
=== CONT  TestSnapshotter/Basic
=== CONT  TestSnapshotter/Remove
    testsuite.go:105: the server ended badly: signal: killed
        its output ended:
        ready
=== CONT  TestSnapshotter/Basic
    testsuite.go:200: Basic goes on
=== NAME  TestSnapshotter/Remove
    testsuite.go:107: one more line
--- FAIL: TestSnapshotter (0.10s)
    --- PASS: TestSnapshotter/Basic (0.05s)
    --- FAIL: TestSnapshotter/Remove (0.06s)
        testsuite.go:110: printed after the result
FAIL
`;

it('keeps the lines of each case, before and after its result', () => {
  const cases = casesOf(output, 'TestSnapshotter');
  expect([...cases].map(([name, { outcome }]) => [name, outcome])).toEqual([
    ['Basic', 'PASS'],
    ['Remove', 'FAIL'],
  ]);
  expect(cases.get('Basic')?.output).toBe(
    `    testsuite.go:200: Basic goes on\n    --- PASS: TestSnapshotter/Basic (0.05s)`,
  );
  const remove = cases.get('Remove')?.output ?? '';
  for (const part of ['signal: killed', 'ready', 'one more line', 'after the result']) {
    expect(remove).toContain(part);
  }
  expect(remove).not.toContain('Basic');
});

it('has no result for a case that never ended', () => {
  expect(casesOf('=== RUN   TestSnapshotter/Walk\npanic: gone\n', 'TestSnapshotter').size).toBe(0);
});

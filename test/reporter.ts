/** Ends a test run with one line that scripts can read: `N passed, N failed`. */
import type { Reporter, TestModule } from 'vitest/node';

export default class LastLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandledErrors.length;
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed += 1;
        if (state === 'failed') failedHere += 1;
      }
      // A file that cannot be loaded, or whose hooks fail, has failed without a failed test.
      if (failedHere === 0 && !module.ok()) failedHere = 1;
      failed += failedHere;
    }
    // After the summary of the other reporters, which hear of the end in the same round.
    setImmediate(() => {
      process.stdout.write(`${passed} passed, ${failed} failed\n`);
    });
  }
}

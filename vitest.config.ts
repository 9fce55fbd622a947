import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two cores are the smallest machine this is meant for; real daemons run beside the tests.
    maxWorkers: 2,
    pool: 'forks',
  },
});

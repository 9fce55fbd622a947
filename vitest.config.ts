import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import LongestFirst from './test/longest-first.js';

/** Tests that start containerd, the daemon or the kernel's slower sides; they want the machine. */
const system = ['test/conformance/**', 'test/e2e/**', 'test/faults/**', 'test/ui/**'];

/** scripts/setup.sh puts programs of Debian's next release here. */
const containerd2 = fileURLToPath(
  new URL('.cache/debian-next/containerd/containerd', import.meta.url),
);

/** Docker Engine of Debian's next release, and the kubelet's interface, go with containerd 2.x. */
const clients = ['test/e2e/docker.test.ts', 'test/e2e/cri.test.ts'];

/** A share of it by default: see test/support/effort.ts. */
const throughContainerd2 =
  process.env['STRATALOG_TESTS'] === 'full'
    ? ['test/e2e/*.test.ts']
    : [...clients, 'test/e2e/life.test.ts', 'test/e2e/remote.test.ts'];

export default defineConfig({
  test: {
    reporters: ['default', './test/reporter.ts'],
    globalSetup: './test/support/abandoned-disks.ts',
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
    // A poll waits for a state. Its limit is for what never comes, also on a busy machine.
    expect: { poll: { timeout: 25_000 } },
    // Two cores are the smallest machine this is meant for.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'units',
          include: ['test/**/*.test.ts'],
          exclude: system,
          // Far beyond what any test takes: it ends what hangs, on a machine that is busy too.
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: system.map((folder) => `${folder}/*.test.ts`),
          exclude: clients,
          testTimeout: 120_000,
          hookTimeout: 300_000,
          // Only when the quick tests are through.
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          // Once more with containerd 2.x: what goes through containerd. The guides print what 1.6
          // does, and the rest of the conformance suite talks to the daemon directly.
          name: 'containerd-2',
          include: [...throughContainerd2, 'test/conformance/through-containerd.test.ts'],
          exclude: ['test/e2e/guides.test.ts'],
          env: { STRATALOG_CONTAINERD: containerd2, STRATALOG_CTR: '' },
          testTimeout: 120_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

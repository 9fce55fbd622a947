/**
 * containerd's own snapshotter suite (core/snapshots/testsuite) against Stratalog. Each case of the
 * suite is a case here, and a case that is skipped without a known reason is a failure.
 *
 * STRATALOG_RIG_PEER=1 runs the same against containerd's overlayfs snapshotter behind a socket:
 * when that fails too, the fault is in the rig or the machine.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Daemon, patientLimits } from '../../scripts/rig/daemon.js';
import { buildGo } from '../../scripts/rig/go-programs.js';
import { run } from '../../scripts/rig/command.js';
import { Workspace } from '../../scripts/rig/workspace.js';
import { type CaseResult, casesOf } from './go-test-output.js';

const againstPeer = process.env['STRATALOG_RIG_PEER'] === '1';

const cases = [
  'Basic',
  'StatActive',
  'StatComitted',
  'TransitivityTest',
  'PreareViewFailingtest',
  'Update',
  'Remove',
  'Walk',
  'LayerFileupdate',
  'RemoveDirectoryInLowerLayer',
  'Chown',
  'DirectoryPermissionOnCommit',
  'RemoveIntermediateSnapshot',
  'DeletedFilesInChildSnapshot',
  'MoveFileFromLowerLayer',
  'Rename',
  'ViewReadonly',
  'StatInWalk',
  'CloseTwice',
  'RootPermission',
  '128LayersMount',
];

/** Cases that the suite itself leaves out, and why. */
const skippedBySuite: Readonly<Record<string, string>> = {
  Rename: 'containerd 1.6 skips it for every snapshotter; later suites skip it for overlayfs',
};

interface SuiteRun {
  readonly results: ReadonlyMap<string, CaseResult>;
  readonly output: string;
}

/** How the suite reaches the snapshotter: a server for each case, one for all, or containerd. */
export type Connect = (
  snapshotter: Daemon,
  workspace: Workspace,
) => Promise<readonly ['-serve' | '-address' | '-containerd', ...string[]]>;

/** Declares the cases of the suite as tests. */
export function describeSuite(connection: string, connect: Connect): void {
  describe(`the suite of containerd, ${connection}`, () => {
    let workspace: Workspace;
    let suiteRun: SuiteRun;

    beforeAll(async () => {
      workspace = await Workspace.create();
      suiteRun = await runSuite(
        workspace,
        await connect(await snapshotterIn(workspace), workspace),
      );
    }, 1_000_000);

    afterAll(() => workspace.close());

    it('has the cases that are known here, no more and no fewer', () => {
      expect([...suiteRun.results.keys()].sort(), suiteRun.output).toEqual([...cases].sort());
    });

    it.for(cases)('%s', (name, { skip }) => {
      const result = suiteRun.results.get(name);
      const reason = skippedBySuite[name];
      if (result?.outcome === 'SKIP' && reason !== undefined) skip(reason);
      expect(result?.outcome, result?.output ?? suiteRun.output).toBe('PASS');
    });
  });
}

async function snapshotterIn(workspace: Workspace): Promise<Daemon> {
  return againstPeer
    ? Daemon.peer(workspace, await buildGo('program', 'test/bench/go'))
    : Daemon.stratalog(workspace, { config: patientLimits });
}

async function runSuite(workspace: Workspace, args: readonly string[]): Promise<SuiteRun> {
  const suite = await buildGo('tests', 'test/conformance/go');
  const { stdout, stderr } = await run(suite, ['-test.v', '-test.root', ...args], {
    mayFail: true,
    timeoutMillis: 900_000,
    env: { TMPDIR: workspace.makeDirectory('suite') },
  });
  const output = stdout + stderr;
  return { results: casesOf(output, 'TestSnapshotter'), output };
}

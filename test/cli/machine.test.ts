/** Goal: `machine` shows the state of a snapshot and its transitions, in every format. */
import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  aRoot,
  builtCli,
  buildLimitMillis,
  cleanUp,
  committed,
  committing,
  daemonStarted,
  jsonLines,
  prepared,
  preparing,
  removing,
  stratalog,
} from './rig.js';

beforeAll(builtCli, buildLimitMillis);
afterEach(cleanUp);

const story = [
  daemonStarted(),
  preparing(1, 'default/1/key'),
  prepared(1),
  committing(1, 'default/2/layer'),
  committed(1, 'default/2/layer'),
  preparing(2, 'default/3/key'),
  prepared(2),
  removing(2, true),
];

it('shows the state of a snapshot and each transition', async () => {
  const root = await aRoot(story);
  const { code, stdout } = await stratalog(['machine', 'layer', '--root', root]);
  expect(code).toBe(0);
  expect(stdout).toContain('state     committed.available at position 8');
  expect(stdout).toMatch(/^3 +\S+Z +active +SnapshotCommitting +committing +as default/m);
});

it('shows them at a moment in the past, and as JSON', async () => {
  const root = await aRoot(story);
  const args = ['machine', '1', '--at', '4', '--json', '--root', root];
  const [state] = jsonLines((await stratalog(args)).stdout);
  expect(state).toMatchObject({
    schema: 'stratalog.machine-state/v1',
    ...{ id: 1, name: 'default/1/key', position: 4, state: 'committing' },
    path: [
      { position: 1, event: 'SnapshotPreparing', from: 'absent', to: 'preparing' },
      { position: 2, event: 'SnapshotPrepared', from: 'preparing', to: 'active' },
      { position: 3, event: 'SnapshotCommitting', from: 'active', to: 'committing' },
    ],
  });
});

it('picks the snapshot that has the key at the moment, and reports the others', async () => {
  const root = await aRoot(story);
  const { stdout, stderr } = await stratalog(['machine', 'key', '--root', root]);
  expect(stdout).toContain('snapshot  2 default/3/key');
  expect(stdout).toContain('state     awaitingCleanup');
  expect(stderr).toContain('"key" matches 2 snapshots; using 2;');
});

it('draws the chart with the state highlighted', async () => {
  const root = await aRoot(story);
  const svg = await stratalog(['machine', '1', '--format', 'svg', '--root', root]);
  expect(svg.stdout).toMatch(
    /^<svg [\s\S]*<g class="state visited lit" data-state="committed\.available">/,
  );
  const mermaid = await stratalog(['machine', '2', '--format', 'mermaid', '--root', root]);
  expect(mermaid.stdout).toContain('class awaitingCleanup lit');
});

it('draws the whole chart without a root', async () => {
  const mermaid = await stratalog(['machine']);
  expect(mermaid).toMatchObject({ code: 0, stderr: '' });
  expect(mermaid.stdout).toMatch(/^stateDiagram-v2\n/);
  const svg = await stratalog(['machine', '--format', 'svg']);
  expect(svg.stdout.match(/data-state="/g)).toHaveLength(14);
  const [json] = jsonLines((await stratalog(['machine', '--json'])).stdout);
  expect(json).toMatchObject({ schema: 'stratalog.machine/v1' });
});

it('reports a missing snapshot and contradictory flags', async () => {
  const root = await aRoot(story);
  const [unknown, early, whole, two] = await Promise.all([
    stratalog(['machine', 'absent', '--root', root]),
    stratalog(['machine', '2', '--at', '3', '--root', root]),
    stratalog(['machine', '--at', '3']),
    stratalog(['machine', '--json', '--format', 'svg']),
  ]);
  expect(unknown).toMatchObject({ code: 1, stdout: '' });
  expect(unknown.stderr).toContain('has the id, key, name or digest "absent"');
  expect(early.code).toBe(1);
  expect(early.stderr).toContain(
    'no snapshot "2" exists at position 3; snapshot 2 was prepared at position ',
  );
  expect([whole.code, two.code]).toEqual([2, 2]);
});

/**
 * Goal: the state at a position is what containerd would have been told at that moment. Method: a
 * real snapshotter under a random load; after each call its List is kept with the position that
 * was durable then; afterwards the archive of its files is asked for each of those positions.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Position } from '../../src/base/units.js';
import { RootArchive } from '../../src/inspect/archive/root-archive.js';
import { statesIn } from '../../src/inspect/snapshot/state-view.js';
import { infoOf, type SnapshotInfo } from '../../src/machines/snapshots/info.js';
import { TestDaemon, testRoot, valueOf } from '../support/daemon.js';

const name = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
const call = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ ask: fc.constant('prepare' as const), name, on: fc.option(name) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ ask: fc.constant('view' as const), name, on: fc.option(name) }),
  },
  { weight: 4, arbitrary: fc.record({ ask: fc.constant('commit' as const), name, as: name }) },
  { weight: 3, arbitrary: fc.record({ ask: fc.constant('remove' as const), name }) },
  {
    weight: 2,
    arbitrary: fc.record({ ask: fc.constant('update' as const), name, text: fc.string() }),
  },
  { weight: 1, arbitrary: fc.record({ ask: fc.constant('restart' as const) }) },
);
type Call = typeof call extends fc.Arbitrary<infer Value> ? Value : never;

interface Told {
  readonly at: Position;
  readonly infos: readonly SnapshotInfo[];
}

const plain = ({ name, parent, kind, labels, createdAt, updatedAt }: SnapshotInfo) => ({
  ...{ name, parent, kind, labels: [...labels], createdAt, updatedAt },
});
const byName = (one: SnapshotInfo, other: SnapshotInfo): number => (one.name < other.name ? -1 : 1);

// Checkpoints and segments so small that many of both come about.
const options = { checkpointEveryEvents: 25, segmentBytes: 8192, remote: true };

it('answers as List answered, at every position that was durable then', async () => {
  let most = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(call, { minLength: 60, maxLength: 60, size: 'max' }),
      async (calls) => {
        const root = testRoot();
        const labels = root.addLayer('sha256:one');
        let daemon = await TestDaemon.open(root, options);
        const told: Told[] = [];
        const look = (): void => {
          const infos = [...valueOf(daemon.snapshotter.list([]))];
          told.push({ at: daemon.snapshotter.durablePosition, infos });
        };
        const make = async (query: Call): Promise<unknown> => {
          if (query.ask === 'prepare') {
            return daemon.prepare(query.name, query.on, query.on === null ? labels : new Map());
          }
          if (query.ask === 'view') return daemon.view(query.name, query.on);
          if (query.ask === 'commit') return daemon.commit(query.name, query.as);
          if (query.ask === 'remove') return daemon.remove(query.name);
          if (query.ask === 'update')
            return daemon.update(query.name, new Map([['t', query.text]]));
          await daemon.close();
          daemon = await TestDaemon.open(root, options);
          return null;
        };
        try {
          for (const query of calls) {
            const done = make(query);
            // Once while it is under way, once when it was answered.
            if (query.ask !== 'restart') look();
            await done;
            look();
          }
          const { host } = daemon;
          await daemon.close();
          const archive = new RootArchive(host.disk, root.path);
          for (const { at, infos } of told) {
            const { forest } = await archive.stateAt(at);
            const then = [...statesIn(forest, { namespace: null, isAll: false })].map(infoOf);
            expect(then.sort(byName).map(plain)).toEqual([...infos].sort(byName).map(plain));
          }
          most = Math.max(most, ...told.map(({ infos }) => infos.length));
        } finally {
          root.remove();
        }
      },
    ),
    { numRuns: 4, interruptAfterTimeLimit: 45_000 },
  );
  // Otherwise it has compared too little.
  expect(most).toBeGreaterThan(1);
}, 60_000);

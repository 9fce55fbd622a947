/**
 * What Cleanup costs a client, with few and with many events in the log: `docker run --rm` and
 * containerd's collector wait for it. There is no garbage; a listing of the directories is all.
 */
import { credentials } from '@grpc/grpc-js';
import {
  Kind,
  SnapshotsClient,
} from '../../src/api/generated/containerd/services/snapshots/v1/snapshots.js';
import { candidatesOf, inTurns, inWorkspace, say, type Programs } from './candidates.js';
import { rowOf, type Row } from './report.js';

const snapshots = 100;
const cleanupsOfATurn = 20;
const updatesAtOnce = 32;
const snapshotter = 'stratalog';

/** Mean milliseconds of a Cleanup. */
interface Turn {
  readonly early: number;
  readonly late: number;
}

/** @param events how many are written between the two measurements; a checkpoint is made each 10,000 */
export async function measureCleanups(
  programs: Programs,
  { turns, events }: { readonly turns: number; readonly events: number },
): Promise<readonly Row[]> {
  const measured = await inTurns(turns, candidatesOf(programs), ({ name, make }, turn) =>
    inWorkspace(async (workspace): Promise<Turn> => {
      say(`Cleanup, ${name}, turn ${turn}`);
      const daemon = make(workspace, 'snapshotter');
      await daemon.start();
      const client = new Client(daemon.address);
      for (let index = 0; index < snapshots; index += 1) await client.prepare(`key-${index}`);
      const early = await client.meanCleanup();
      const rounds = Math.ceil(events / updatesAtOnce);
      for (let round = 0; round < rounds; round += 1) await client.updateMany(round);
      const late = await client.meanCleanup();
      client.close();
      await daemon.stop();
      return { early, late };
    }),
  );
  const row = (what: string, read: (turn: Turn) => number): Row =>
    rowOf(what, new Map([...measured].map(([{ name }, own]) => [name, own.map(read)])));
  return [
    row(`Cleanup of ${snapshots} snapshots, few events, ms`, ({ early }) => early),
    row(`Cleanup of ${snapshots} snapshots, ${events} events later, ms`, ({ late }) => late),
  ];
}

class Client {
  readonly #client: SnapshotsClient;

  constructor(address: string) {
    this.#client = new SnapshotsClient(`unix:${address}`, credentials.createInsecure());
  }

  prepare(key: string): Promise<void> {
    return asked((done) =>
      this.#client.prepare({ snapshotter, key, parent: '', labels: new Map() }, done),
    );
  }

  async meanCleanup(): Promise<number> {
    const began = performance.now();
    for (let count = 0; count < cleanupsOfATurn; count += 1) {
      await asked((done) => this.#client.cleanup({ snapshotter }, done));
    }
    return (performance.now() - began) / cleanupsOfATurn;
  }

  /** One event each. */
  async updateMany(round: number): Promise<void> {
    await Promise.all(
      Array.from({ length: updatesAtOnce }, (_, index) =>
        asked((done) =>
          this.#client.update(
            {
              snapshotter,
              info: {
                ...{ name: `key-${index}`, parent: '', kind: Kind.UNKNOWN },
                ...{ createdAt: undefined, updatedAt: undefined },
                labels: new Map([['containerd.io/bench', String(round)]]),
              },
              updateMask: ['labels'],
            },
            done,
          ),
        ),
      ),
    );
  }

  close(): void {
    this.#client.close();
  }
}

function asked(call: (done: (fault: Error | null) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    call((fault) => {
      if (fault === null) resolve();
      else reject(fault);
    });
  });
}

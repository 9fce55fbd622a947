/** The SnapshotDirectories port: names are checked here, the work is done by directory-jobs.ts. */
import { HostFault } from '../base/errors.js';
import type { SnapshotDirectories } from '../base/ports.js';
import { parseSnapshotId } from '../base/units.js';
import type { SnapshotId } from '../base/units.js';
import type * as directoryJobs from './directory-jobs.js';
import { jobModule } from './job-module.js';
import type { LaneName, WorkerPool } from './workers.js';

const jobs = jobModule<typeof directoryJobs>(new URL('./directory-jobs.js', import.meta.url));

/** `root` must be absolute and exist, with `snapshots` in it: a root that is not mounted yet must not be made anew. */
export function snapshotDirectories(root: string, pool: WorkerPool): SnapshotDirectories {
  const snapshots = `${root.replace(/\/+$/, '')}/snapshots`;
  const fsPath = (id: SnapshotId): string => `${snapshots}/${id}/fs`;
  const on = (lane: LaneName, path: string, signal: AbortSignal | undefined) => ({
    lane,
    path,
    signal,
  });
  return {
    fsPath,
    workPath: (id) => `${snapshots}/${id}/work`,
    prepare: (id, options, signal) => {
      // The directory to be like may be a remote mount, whose server may be gone.
      const lane =
        typeof options.owner === 'object' && 'like' in options.owner ? 'through' : 'fast';
      const input = { snapshots, name: String(id), ...options };
      return pool.run(jobs, 'prepare', input, on(lane, fsPath(id), signal));
    },
    prepareSpares: async (ids, { durable }, signal) => {
      const input = { snapshots, names: ids.map(String), durable };
      const { owner, taken } = await pool.run(
        jobs,
        'prepareSpares',
        input,
        on('fast', snapshots, signal),
      );
      return { owner, made: ids.filter((id) => !taken.includes(String(id))) };
    },
    measure: (id, signal) => {
      const path = fsPath(id);
      return pool.run(jobs, 'measure', { path }, on('walk', path, signal));
    },
    syncFileSystem: (signal) =>
      pool.run(jobs, 'syncFileSystem', { path: snapshots }, on('walk', snapshots, signal)),
    empty: (id, signal) => {
      const path = fsPath(id);
      return pool.run(jobs, 'empty', { path }, on('walk', path, signal));
    },
    remove: async (name, signal) => {
      const path = `${snapshots}/${name}`;
      if (!isPlainName(name)) throw new HostFault('remove', path, 'EINVAL');
      // What a name that is no UTF-8 was decoded to: nothing has this one.
      if (name.includes('\ufffd')) throw new HostFault('remove', path, 'EILSEQ');
      const input = { directory: snapshots, name };
      await pool.run(jobs, 'remove', input, on('walk', path, signal));
    },
    list: async (signal, wish) => {
      const looksInside = wish?.namesOnly !== true;
      const lane = looksInside ? 'walk' : 'fast';
      const input = { path: snapshots, looksInside };
      const found = await pool.run(jobs, 'list', input, on(lane, snapshots, signal));
      const withoutFs = new Set(namesIn(found.withoutFs));
      const withoutWork = new Set(namesIn(found.withoutWork));
      const inside = (name: string) =>
        looksInside
          ? { hasFs: !withoutFs.has(name), hasWork: !withoutWork.has(name) }
          : { hasFs: null, hasWork: null };
      const noDirectory = { isDirectory: false, hasFs: false, hasWork: false };
      return [
        ...namesIn(found.directories).map((name) => ({
          name,
          id: parseSnapshotId(name),
          isDirectory: true,
          ...inside(name),
        })),
        ...namesIn(found.others).map((name) => ({
          name,
          id: parseSnapshotId(name),
          ...noDirectory,
        })),
      ];
    },
  };
}

const namesIn = (joined: string): readonly string[] => (joined === '' ? [] : joined.split('/'));

/** One component that stays where it is: no separator, not `.`, not `..`. */
function isPlainName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}

/** The SnapshotDirectories port: validates names; directory-jobs.ts does the work. */
import { HostFault } from '../../base/errors.js';
import type {
  DirectoryParts,
  DirectoryUse,
  SnapshotDirectories,
  SnapshotDirectoryEntry,
} from '../../base/ports.js';
import { parseSnapshotId } from '../../base/units.js';
import type { SnapshotId } from '../../base/units.js';
import type * as directoryJobs from './directory-jobs.js';
import type { ListedNames } from './directory-jobs.js';
import type * as directoryUseJobs from './directory-use-jobs.js';
import { jobModule } from '../threads/job-module.js';
import type { LaneName, WorkerPool } from '../threads/workers.js';

const jobs = jobModule<typeof directoryJobs>(new URL('./directory-jobs.js', import.meta.url));
const useJobs = jobModule<typeof directoryUseJobs>(
  new URL('./directory-use-jobs.js', import.meta.url),
);

/** Directories checked in one job. */
const usesPerJob = 500;

/** `root` must be absolute and contain `snapshots`, because a root may not be mounted yet. */
export function snapshotDirectories(root: string, pool: WorkerPool): SnapshotDirectories {
  const snapshots = `${root.replace(/\/+$/, '')}/snapshots`;
  const fsPath = (id: SnapshotId): string => `${snapshots}/${id}/fs`;
  const on = (lane: LaneName, path: string, signal: AbortSignal | undefined) => ({
    lane,
    path,
    signal,
  });
  const deletion = (path: string, signal: AbortSignal | undefined) => ({
    ...on('walk', path, signal),
    alone: true,
  });
  return {
    fsPath,
    workPath: (id) => `${snapshots}/${id}/work`,
    prepare: async (id, options, signal) => {
      const input = { snapshots, name: String(id), ...options };
      await pool.run(jobs, 'prepare', input, on('fast', fsPath(id), signal));
    },
    preallocateDirectories: async (ids, { durable }, signal) => {
      const input = { snapshots, names: ids.map(String), durable };
      const { owner, taken } = await pool.run(
        jobs,
        'preallocateDirectories',
        input,
        on('fast', snapshots, signal),
      );
      return { owner, made: ids.filter((id) => !taken.includes(String(id))) };
    },
    measure: (id, signal) => {
      const path = fsPath(id);
      return pool.run(jobs, 'measure', { path }, on('walk', path, signal));
    },
    ownerOf: (id, signal) => {
      const path = fsPath(id);
      // Reads through a mount that was just made on a thread of this lane.
      return pool.run(jobs, 'ownerOfDirectory', { path }, on('mount', path, signal));
    },
    syncFileSystem: (signal) =>
      pool.run(jobs, 'syncFileSystem', { path: snapshots }, on('walk', snapshots, signal)),
    empty: (id, signal) => {
      const path = fsPath(id);
      return pool.run(jobs, 'empty', { path }, on('walk', path, signal));
    },
    remove: async (name, signal, options) => {
      const path = `${snapshots}/${name}`;
      if (!isPlainName(name)) throw new HostFault('remove', path, 'EINVAL');
      if (isUndecodable(name)) throw new HostFault('remove', path, 'EILSEQ');
      const input = { directory: snapshots, name, unlessUsed: options?.unlessUsed === true };
      await pool.run(jobs, 'remove', input, deletion(path, signal));
    },
    usesOf: (names, signal) => usesOf({ snapshots, pool }, names, signal),
    removeUnused: (name, signal) => {
      const path = `${snapshots}/${name}`;
      if (!isUsableName(name)) return Promise.resolve(unusableName(path));
      return pool.run(useJobs, 'removeUnused', { snapshots, name }, deletion(path, signal));
    },
    hasFs: (id, signal) =>
      pool.run(jobs, 'hasFs', { snapshots, name: String(id) }, on('fast', fsPath(id), signal)),
    list: async (signal, query) => {
      const looksInside = query?.namesOnly !== true;
      const lane = looksInside ? 'walk' : 'fast';
      const input = { path: snapshots, looksInside };
      const found = await pool.run(jobs, 'list', input, on(lane, snapshots, signal));
      return entriesOf(found, looksInside);
    },
  };
}

async function usesOf(
  { snapshots, pool }: { readonly snapshots: string; readonly pool: WorkerPool },
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<readonly DirectoryUse[]> {
  const uses: DirectoryUse[] = [];
  // In slices, so that an aborted call frees its thread and no result is huge.
  for (let from = 0; from < names.length; from += usesPerJob) {
    const slice = names.slice(from, from + usesPerJob);
    const input = { snapshots, names: slice.filter(isUsableName) };
    const found = await pool.run(useJobs, 'usesOf', input, {
      lane: 'walk',
      path: snapshots,
      signal,
    });
    const next = found[Symbol.iterator]();
    for (const name of slice) {
      const use = isUsableName(name) ? next.next().value : unusableName(`${snapshots}/${name}`);
      if (use !== undefined) uses.push(use);
    }
  }
  return uses;
}

function entriesOf(found: ListedNames, looksInside: boolean): readonly SnapshotDirectoryEntry[] {
  const withoutFs = new Set(namesIn(found.withoutFs));
  const withoutWork = new Set(namesIn(found.withoutWork));
  const hidden = new Set(namesIn(found.hidden));
  const failed = new Map(found.failed.map(({ name, ...scan }) => [name, scan]));
  const partsOf = (name: string): DirectoryParts => {
    if (!looksInside) return { kind: 'unchecked' };
    if (hidden.has(name)) return { kind: 'hidden' };
    const failure = failed.get(name);
    if (failure !== undefined) return { kind: 'unknown', ...failure };
    return { kind: 'seen', fs: !withoutFs.has(name), work: !withoutWork.has(name) };
  };
  const noParts = { kind: 'seen', fs: false, work: false } as const;
  return [
    ...namesIn(found.directories).map((name) => ({
      name,
      id: parseSnapshotId(name),
      isDirectory: true,
      parts: partsOf(name),
    })),
    ...namesIn(found.others).map((name) => ({
      name,
      id: parseSnapshotId(name),
      isDirectory: false,
      parts: noParts,
    })),
  ];
}

const namesIn = (joined: string): readonly string[] => (joined === '' ? [] : joined.split('/'));

/** A name that is not UTF-8 is decoded with U+FFFD, so no entry has the decoded name. */
const isUndecodable = (name: string): boolean => name.includes('\ufffd');

const isUsableName = (name: string): boolean => isPlainName(name) && !isUndecodable(name);

function unusableName(path: string): DirectoryUse {
  return {
    kind: 'unknown',
    operation: 'open',
    path,
    code: isUndecodable(path) ? 'EILSEQ' : 'EINVAL',
  };
}

/** A single path component: no separator, not `.`, not `..`. */
function isPlainName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}

/**
 * Puts a gate between the code under test and the system calls it makes from synchronous code:
 * those of node:fs and those of the C library. The calls are the real ones on a real file
 * system, but for fsync and syncfs, whose effect only a power cut shows: a RealTree keeps book of
 * it. Whoever uses this mocks `src/host/libc.js` with `gatedLibrary`, in the test file itself.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import type * as libc from '../../../src/host/libc.js';
import type { Gate } from './gate.js';
import type { RealTree } from './real-tree.js';

export interface Watched {
  readonly gate: Gate;
  readonly tree: RealTree;
}

/** Whose code is running: it stays so through all that the code awaits, beyond its death too. */
const watching = new AsyncLocalStorage<Watched>();

/** Runs a synchronous job with its system calls at the gate. */
export function atGate<Value>(who: Watched, job: () => Value): Value {
  return watching.run(who, job);
}

/** The same for a job that waits in between. */
export async function allAtGate<Value>(
  who: Watched,
  job: () => Promise<Value>,
): Promise<{ readonly value: Value } | 'died'> {
  const { gate } = who;
  const died = gate.death.then(() => 'died' as const);
  try {
    return await Promise.race([watching.run(who, job).then((value) => ({ value })), died]);
  } catch (thrown) {
    if (gate.isDead) return 'died';
    throw thrown;
  }
}

/** Closes all files of this process below a directory, as the death of their opener does. */
export function closeFilesBelow(directory: string): void {
  for (const fd of real.readdirSync('/proc/self/fd')) {
    let path = '';
    try {
      path = real.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The one that the directory itself was read through.
    }
    if (path === directory || path.startsWith(`${directory}/`)) real.closeSync(Number(fd));
  }
}

/** The gate of the code that is running. */
export function gateHere(): Watched {
  const watched = watching.getStore();
  if (watched === undefined) throw new Error('this is not behind a gate');
  return watched;
}

type Name = string | Buffer | URL | number;

const real = { ...fs };

const pathOf = (name: Name): string =>
  typeof name === 'number' ? real.readlinkSync(`/proc/self/fd/${name}`) : String(name);

/** Names that are drawn at random would make two runs look different. */
const shown = (path: string): string => basename(path).replace(/[0-9a-f]{12,64}/g, 'X');

function step<Value>(
  what: string,
  path: string,
  work: () => Value,
  note: (tree: RealTree) => void,
): Value {
  const watched = watching.getStore();
  if (watched === undefined) return work();
  const { gate, tree } = watched;
  const name = `${what} ${shown(path)}`;
  gate.passNow(`before ${name}`);
  const value = work();
  note(tree);
  gate.passNow(`after ${name}`);
  return value;
}

const isUnwatched = (): boolean => watching.getStore() === undefined;
const nothing = (): void => undefined;

/** Writes with a boundary in the middle: a process can be killed within write(2). */
function writeInHalves(path: string, bytes: Buffer, write: (part: Buffer) => void): void {
  const watched = watching.getStore();
  if (watched === undefined) {
    write(bytes);
    return;
  }
  const { gate, tree } = watched;
  gate.passNow(`before write ${shown(path)}`);
  tree.written(path);
  if (gate.isLast(`within write ${shown(path)}`)) {
    write(bytes.subarray(0, bytes.length >> 1));
    gate.die();
  } else write(bytes);
  gate.passNow(`after write ${shown(path)}`);
}

function removeTree(path: string): void {
  const found = real.lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isDirectory()) for (const name of real.readdirSync(path)) removeTree(join(path, name));
  const remains = watching.getStore()?.tree.remainsOf(path) ?? null;
  const remove = () => (found.isDirectory() ? real.rmdirSync(path) : real.unlinkSync(path));
  step('remove', path, remove, (tree) => tree.removed(path, remains));
}

const hooks = {
  mkdirSync: (path: Name, options?: fs.MakeDirectoryOptions) => {
    const first: { made: string | undefined } = { made: undefined };
    step(
      'mkdir',
      pathOf(path),
      () => {
        first.made = real.mkdirSync(String(path), options);
        if (options?.recursive !== true) first.made = pathOf(path);
      },
      (tree) => {
        if (first.made !== undefined) tree.made(first.made);
      },
    );
  },
  chmodSync: (path: string, mode: number) =>
    step('chmod', pathOf(path), () => real.chmodSync(path, mode), nothing),
  fchmodSync: (fd: number, mode: number) =>
    step('chmod', pathOf(fd), () => real.fchmodSync(fd, mode), nothing),
  lchownSync: (path: string, uid: number, gid: number) =>
    step('chown', pathOf(path), () => real.lchownSync(path, uid, gid), nothing),
  fsyncSync: (fd: number) => {
    const path = pathOf(fd);
    step('fsync', path, isUnwatched() ? () => real.fsyncSync(fd) : nothing, (tree) =>
      tree.synced(path),
    );
  },
  renameSync: (from: string, to: string) =>
    step(
      'rename to',
      pathOf(to),
      () => real.renameSync(from, to),
      (tree) => tree.renamed(pathOf(from), pathOf(to)),
    ),
  linkSync: (from: string, to: string) =>
    step(
      'link',
      pathOf(to),
      () => real.linkSync(from, to),
      (tree) => tree.made(pathOf(to)),
    ),
  symlinkSync: (target: string, path: string) =>
    step(
      'symlink',
      pathOf(path),
      () => real.symlinkSync(target, path),
      (tree) => tree.made(pathOf(path)),
    ),
  openSync: (path: string, flags: string | number = 'r', mode?: number) => {
    const makes = typeof flags === 'number' && (flags & real.constants.O_CREAT) !== 0;
    if (!makes) return real.openSync(path, flags, mode);
    return step(
      'create',
      pathOf(path),
      () => real.openSync(path, flags, mode),
      (tree) => tree.made(pathOf(path)),
    );
  },
  open: (path: string, flags: number, mode: number, done: (...args: unknown[]) => void) => {
    const watched = watching.getStore();
    if (watched === undefined || (flags & real.constants.O_CREAT) === 0) {
      real.open(path, flags, mode, done);
      return;
    }
    const { gate, tree } = watched;
    const isNew = !real.existsSync(path);
    if (gate.isLast(`before create ${shown(path)}`)) gate.die();
    if (gate.isDead) return;
    real.open(path, flags, mode, (...args) => {
      if (isNew) tree.made(path);
      if (gate.isLast(`after create ${shown(path)}`)) gate.die();
      if (!gate.isDead) done(...args);
    });
  },
  // The kernel closes the files of the dead (closeFilesBelow); by their number they may be another's.
  close: (fd: number, done: (...args: unknown[]) => void) => {
    if (watching.getStore()?.gate.isDead !== true) real.close(fd, done);
  },
  closeSync: (fd: number) => {
    if (watching.getStore()?.gate.isDead !== true) real.closeSync(fd);
  },
  writeSync: (fd: number, bytes: Buffer | Uint8Array, offset?: number, ...rest: number[]) => {
    if (isUnwatched()) return real.writeSync(fd, bytes, offset, ...rest);
    const [length = bytes.length - (offset ?? 0), at] = rest;
    const part = Buffer.from(bytes).subarray(offset ?? 0, (offset ?? 0) + length);
    writeInHalves(pathOf(fd), part, (half) => real.writeSync(fd, half, 0, half.length, at));
    return part.length;
  },
  writeFileSync: (path: string, text: string | Buffer, options?: fs.WriteFileOptions) => {
    if (isUnwatched()) {
      real.writeFileSync(path, text, options);
      return;
    }
    const { mode, flush } = { mode: 0o666, flush: false, ...Object(options) } as {
      mode: number;
      flush: boolean;
    };
    const { O_CREAT, O_TRUNC, O_WRONLY } = real.constants;
    const fd = hooks.openSync(path, O_CREAT | O_TRUNC | O_WRONLY, mode);
    try {
      const bytes = Buffer.from(text);
      writeInHalves(pathOf(path), bytes, (part) => real.writeSync(fd, part, 0, part.length, 0));
      if (flush) hooks.fsyncSync(fd);
    } finally {
      real.closeSync(fd);
    }
  },
  rmdirSync: (path: string) => {
    const remains = watching.getStore()?.tree.remainsOf(path) ?? null;
    step(
      'rmdir',
      path,
      () => real.rmdirSync(path),
      (tree) => tree.removed(path, remains),
    );
  },
  rmSync: (path: string, options?: fs.RmOptions) => {
    if (isUnwatched()) real.rmSync(path, options);
    else removeTree(path);
  },
  unlinkSync: (path: string) => {
    if (isUnwatched()) real.unlinkSync(path);
    else removeTree(path);
  },
};

Object.assign(fs, hooks);
syncBuiltinESMExports();

/** Calls of the C library that change the world; all others are only looks. */
const changing = new Set(['unlinkat', 'mount', 'umount2', 'syncfs', 'ioctl', 'lsetxattr']);
for (const name of ['lremovexattr', 'mknod', 'utimensat', 'lchown', 'renameat2'])
  changing.add(name);

const textOf = (argument: libc.Argument | undefined): string =>
  argument instanceof Uint8Array
    ? Buffer.from(argument).toString('utf8').replace(/\0.*$/s, '')
    : '';

const removesDirectory = 0x200; // AT_REMOVEDIR
const exchanges = 2; // RENAME_EXCHANGE

function bookOf(
  name: string,
  args: readonly libc.Argument[],
): { path: string; readonly note: (tree: RealTree) => void } {
  const [first, second, , fourth] = args;
  if (name === 'unlinkat') {
    const path = join(pathOf(Number(first)), textOf(second));
    const found = real.lstatSync(path, { throwIfNoEntry: false });
    const goes = found?.isDirectory() === ((Number(args[2]) & removesDirectory) !== 0);
    const remains = goes ? (watching.getStore()?.tree.remainsOf(path) ?? null) : null;
    return { path, note: (tree) => tree.removed(path, remains) };
  }
  if (name === 'syncfs') return { path: pathOf(Number(first)), note: (tree) => tree.allSynced() };
  if (name === 'mknod') return { path: textOf(first), note: (tree) => tree.made(textOf(first)) };
  if (name === 'renameat2' && Number(args[4]) === exchanges) {
    const [from, to] = [textOf(second), textOf(fourth)];
    return { path: to, note: (tree) => tree.exchanged(from, to) };
  }
  if (name === 'mount') return { path: dirname(textOf(second)), note: nothing };
  if (name === 'umount2') return { path: dirname(textOf(first)), note: nothing };
  if (name === 'utimensat') return { path: textOf(second), note: nothing };
  return { path: first instanceof Uint8Array ? textOf(first) : name, note: nothing };
}

/** Of the calls by number (idmapped-mount.ts), only the last one of three changes what others see. */
const moveMountNumber = 429;

/** `src/host/libc.js` with a gate before and behind each call that changes something. */
export function gatedLibrary(library: typeof libc): typeof libc {
  const libraryCall = (prototype: string): libc.LibraryCall => {
    const call = library.libraryCall(prototype);
    const name = /(\w+)\(/.exec(prototype)?.[1] ?? '';
    const isByNumber = name === 'syscall';
    if (!changing.has(name) && !isByNumber) return call;
    return (...args) => {
      const watched = watching.getStore();
      const isLook = isByNumber && Number(args[0]) !== moveMountNumber;
      if (watched === undefined || isLook) return call(...args);
      const { path, note } = isByNumber
        ? { path: textOf(args[4]), note: nothing }
        : bookOf(name, args);
      const { gate, tree } = watched;
      const boundary = `${isByNumber ? 'move_mount' : name} ${shown(path)}`;
      gate.passNow(`before ${boundary}`);
      const result = name === 'syncfs' ? 0 : call(...args);
      if (result >= 0) {
        note(tree);
        gate.passNow(`after ${boundary}`);
      }
      return result;
    };
  };
  return { ...library, libraryCall };
}

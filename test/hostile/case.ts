/**
 * One table for all bad input: what is done, the answer expected of it, and what must be as it was
 * before. A case says nothing of how the answer comes about; `checkCase` runs it.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { expect } from 'vitest';

/** What came back: an exit code or the name of a gRPC status, and the text a person reads. */
export interface Answer {
  readonly code: number | string;
  readonly message: string;
}

export interface HostileCase<World> {
  readonly name: string;
  /** Brings the input about, before anything is compared. */
  readonly given?: (world: World) => unknown;
  /** Hands it to the program. */
  readonly when: (world: World) => Promise<Answer>;
  readonly expected: {
    readonly code: number | string;
    /** What was wrong, where, and what to do next: one expression for each that must be said. */
    readonly message: readonly RegExp[];
  };
  /** Files, directories or values that must be the same afterwards; all of the world if not given. */
  readonly untouched?: (world: World) => Picture;
}

/** Everything that can be told of some state, comparable with `toEqual`. */
export type Picture = Readonly<Record<string, unknown>>;

/** No message may show where in the program it was thrown, or a value nobody wrote out. */
const notForPeople = /\n\s+at .*\d+:\d+|\[object |undefined|\bnull\b is not|NaN|ZodError/;

/** Runs one case. `whole` takes the picture when the case itself names nothing. */
export async function checkCase<World>(
  { given, when, expected, untouched }: HostileCase<World>,
  world: World,
  whole: (world: World) => Picture,
): Promise<void> {
  const take = untouched ?? whole;
  await given?.(world);
  const before = take(world);
  const answer = await when(world);
  expect({ code: answer.code, message: answer.message }).toMatchObject({ code: expected.code });
  for (const part of expected.message) expect(answer.message).toMatch(part);
  expect(answer.message).not.toMatch(notForPeople);
  expect(take(world)).toEqual(before);
}

/**
 * Each path below a directory with its type, mode, owner and content, by lstat: nothing is
 * followed or opened but regular files. `leave` names what a refusal may touch.
 */
export function treeOf(directory: string, leave: (path: string) => boolean = () => false): Picture {
  const tree: Record<string, unknown> = {};
  const visit = (path: string, name: string): void => {
    const found = fs.lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined || leave(name)) return;
    tree[name] = `${found.mode.toString(8)} ${found.uid}:${found.gid} ${contentOf(path, found)}`;
    if (!found.isDirectory()) return;
    for (const entry of fs.readdirSync(path).sort()) visit(`${path}/${entry}`, `${name}/${entry}`);
  };
  visit(directory, '.');
  return tree;
}

function contentOf(path: string, found: fs.Stats): string {
  if (found.isSymbolicLink()) return `-> ${fs.readlinkSync(path)}`;
  if (!found.isFile()) return '';
  // A huge file is told by its size: it is there to be refused, not to be read.
  if (found.size > 64 * 2 ** 20) return `${found.size} bytes`;
  return createHash('sha256').update(fs.readFileSync(path)).digest('hex');
}

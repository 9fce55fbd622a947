/**
 * Remembers what was changed below a real directory and not synced yet, so that a power cut can
 * take it back. Strict as POSIX is: the sync of a directory makes durable which names are in it
 * and nothing else; the sync of a file, its content; syncfs, everything.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';

interface Change {
  readonly what: 'made' | 'removed' | 'renamed' | 'written';
  readonly path: string;
  /** A power cut takes it back. */
  readonly undo: () => void;
}

/** What is to be remembered of a name before it is removed. */
export type Remains = { readonly content: Buffer | null; readonly mode: number } | null;

export class RealTree {
  #changes: Change[] = [];

  made(path: string): void {
    this.#add('made', path, () => fs.rmSync(path, { recursive: true, force: true }));
  }

  /** To be called before the removal, for `removed` after it. */
  remainsOf(path: string): Remains {
    const found = fs.lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return null;
    return { content: found.isFile() ? fs.readFileSync(path) : null, mode: found.mode };
  }

  removed(path: string, remains: Remains): void {
    if (remains === null) return;
    this.#add('removed', path, () => {
      // A name in a directory that is lost itself is lost with it.
      if (!fs.existsSync(dirname(path)) || fs.existsSync(path)) return;
      if (remains.content === null) fs.mkdirSync(path, remains.mode & 0o7777);
      else fs.writeFileSync(path, remains.content, { mode: remains.mode & 0o7777 });
    });
  }

  renamed(from: string, to: string): void {
    this.#add('renamed', to, () => {
      if (fs.existsSync(to) && fs.existsSync(dirname(from))) fs.renameSync(to, from);
    });
  }

  /** Two names changed places in one step. */
  exchanged(one: string, other: string): void {
    this.#add('renamed', other, () => {
      const aside = `${one}.aside`;
      fs.renameSync(one, aside);
      fs.renameSync(other, one);
      fs.renameSync(aside, other);
    });
  }

  /** The content of a file was written; lost, it is empty. */
  written(path: string): void {
    this.#add('written', path, () => {
      if (fs.existsSync(path)) fs.truncateSync(path, 0);
    });
  }

  /** fsync(2) of a file or a directory. */
  synced(path: string): void {
    this.#changes = this.#changes.filter((change) =>
      change.what === 'written' ? change.path !== path : dirname(change.path) !== path,
    );
  }

  allSynced(): void {
    this.#changes = [];
  }

  /** What a power cut could take back. */
  pending(): readonly string[] {
    return this.#changes.map(({ what, path }) => `${what} ${path}`);
  }

  /** The newest first, each change that was not synced is lost or kept as the draw says. */
  powerCut(draw: () => number): void {
    for (const change of this.#changes.toReversed()) if (draw() >= 0.5) change.undo();
    this.#changes = [];
  }

  #add(what: Change['what'], path: string, undo: () => void): void {
    this.#changes.push({ what, path, undo });
  }
}

/**
 * The info of a packed snapshot, still as the bytes of its line: List returns a hundred
 * thousand of them without parsing one. Reading a field parses the line.
 */
import type { Labels, SnapshotName, UnixNanos } from '../../base/units.js';
import { infoOf, type SnapshotInfo } from './info.js';
import { decodeState } from './state-json.js';

export class PackedInfo implements SnapshotInfo {
  /** The line of `encodeState` in UTF-8, without a newline. Never changes. */
  readonly line: Buffer;
  #parsed: SnapshotInfo | null = null;

  constructor(line: Buffer) {
    this.line = line;
  }

  get name(): SnapshotName {
    return this.#info.name;
  }

  get parent(): string {
    return this.#info.parent;
  }

  get kind(): SnapshotInfo['kind'] {
    return this.#info.kind;
  }

  get labels(): Labels {
    return this.#info.labels;
  }

  get createdAt(): UnixNanos {
    return this.#info.createdAt;
  }

  get updatedAt(): UnixNanos {
    return this.#info.updatedAt;
  }

  get #info(): SnapshotInfo {
    return (this.#parsed ??= infoOf(decodeState(this.line.toString('utf8'))));
  }
}

/** Findings about other files in the log directory than segments and checkpoints. */
import type { Disk } from '../../base/ports.js';
import { listLog, QUARANTINE } from '../files.js';
import type { LogFinding, LogFindingKind } from './findings.js';
import { readIndex } from '../index/index-files.js';
import { IndexUnusable } from '../index/index-head.js';
import type { Part } from '../read/segment-list.js';

export type TellFinding = (
  kind: LogFindingKind,
  file: string,
  offset: number,
  position: number,
  detail: string,
) => LogFinding;

/** Every byte of every index is looked at. */
export async function* indexFindings(
  disk: Disk,
  root: string,
  parts: readonly Part[],
  tell: TellFinding,
): AsyncGenerator<LogFinding, void, undefined> {
  const { indexes } = await listLog(disk, root);
  for (const { name, position: at } of indexes) {
    const index = parts.findIndex(({ named }) => named.position === at);
    const segment = parts[index]?.segment;
    const next = parts[index + 1];
    if (index === -1 || next === undefined) {
      const detail = 'an index without a sealed segment; the next start removes it';
      yield tell('left-over', name, 0, at, detail);
    }
    // Damage to a header was reported.
    if (!segment || !next?.segment) continue;
    try {
      await readIndex(disk, root, segment, next.segment);
    } catch (thrown) {
      if (!(thrown instanceof IndexUnusable)) throw thrown;
      yield tell('index-unusable', name, 0, at, thrown.message);
    }
  }
}

/** @param at how far the log is sound */
export async function* otherFiles(
  disk: Disk,
  root: string,
  at: number,
  tell: TellFinding,
): AsyncGenerator<LogFinding, void, undefined> {
  const { broken, leftovers, strange } = await listLog(disk, root);
  for (const name of broken) {
    const what = name.startsWith(QUARANTINE)
      ? 'what an earlier repair took out'
      : 'a torn tail that an earlier start cut';
    yield tell('left-over', name, 0, at, what);
  }
  // A live writer has a prepared segment.
  const unfinished = leftovers.filter((name) => name !== 'next.prepared');
  for (const name of unfinished) {
    const detail = 'a prepared or unfinished file; the next start removes it';
    yield tell('left-over', name, 0, at, detail);
  }
  for (const name of strange) {
    yield tell('strange-file', name, 0, at, 'this program gives no such name');
  }
}

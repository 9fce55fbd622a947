/**
 * Compares containerd's metadata with the log, and decides what to remove so that both agree. Pure.
 *
 * This follows containerd's core/metadata/snapshot.go. It refuses to remove a snapshot with
 * children, so children are removed first. Its garbage collection walks the snapshotter and removes
 * every snapshot without metadata in any namespace, children first. So a snapshot that only
 * Stratalog has needs nothing but a collection. containerd collects from a snapshotter only after
 * a removal from it, so if there is nothing to remove, a snapshot is created and removed.
 *
 * A removal also schedules a collection of containerd's own metadata, concurrent with the remaining
 * commands: a layer that nothing references may be gone before its command runs.
 */
import { metaOf } from '../../machines/transition-table.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import type { ContainerdSnapshot } from './containerd-metadata.js';

/** A snapshot of ours as reported to clients. */
export interface OurSnapshot {
  readonly name: string;
  readonly parent: string | null;
  readonly kind: 'active' | 'view' | 'committed';
}

export type Difference =
  /** Only containerd's garbage collection can remove it. */
  | { readonly kind: 'OnlyInStratalog'; readonly ours: OurSnapshot }
  /** A pull or a container that needs it fails with NotFound. */
  | { readonly kind: 'OnlyInContainerd'; readonly theirs: ContainerdSnapshot }
  | {
      readonly kind: 'OtherParent';
      readonly theirs: ContainerdSnapshot;
      readonly ours: OurSnapshot;
      /** Name of the parent in containerd; null for none. */
      readonly expected: string | null;
    };

export interface ContainerdDiff {
  readonly differences: readonly Difference[];
  /**
   * What containerd has to remove, children first: snapshots that only it has, those with another
   * parent, and their descendants in containerd.
   */
  readonly removals: readonly ContainerdSnapshot[];
  /** Whether containerd must collect garbage afterwards, to remove what only Stratalog has. */
  readonly isCollectionNeeded: boolean;
}

/** The snapshots that are visible to clients. */
export function oursOf(forest: Forest): readonly OurSnapshot[] {
  const ours: OurSnapshot[] = [];
  for (const { name, parent, status } of forest.values()) {
    const kind = metaOf(status).shownAs;
    if (kind !== null) ours.push({ name, parent: parent?.name ?? null, kind });
  }
  return ours;
}

/** `counts` excludes differences that are only work in progress. */
export function diffContainerd(
  ours: readonly OurSnapshot[],
  theirs: readonly ContainerdSnapshot[],
  counts: (difference: Difference) => boolean = () => true,
): ContainerdDiff {
  const ourByName = new Map(ours.map((snapshot) => [snapshot.name, snapshot]));
  const theirByKey = new Map(theirs.map((snapshot) => [keyOf(snapshot), snapshot]));
  const found: Difference[] = [];
  for (const snapshot of theirs) {
    const mine = ourByName.get(snapshot.name);
    const expected = parentNameOf(snapshot, theirByKey);
    if (mine === undefined) found.push({ kind: 'OnlyInContainerd', theirs: snapshot });
    else if (mine.parent !== expected) {
      found.push({ kind: 'OtherParent', theirs: snapshot, ours: mine, expected });
    }
  }
  const theirNames = new Set(theirs.map(({ name }) => name));
  for (const mine of ours) {
    if (!theirNames.has(mine.name)) found.push({ kind: 'OnlyInStratalog', ours: mine });
  }
  const differences = found.filter(counts);
  const wrong = differences.flatMap((one) => ('theirs' in one ? [one.theirs] : []));
  const removals = withDescendants(wrong, theirs);
  const isLeftBehind = removals.some(({ name }) => ourByName.has(name));
  const isOrphan = differences.some(({ kind }) => kind === 'OnlyInStratalog');
  return { differences, removals, isCollectionNeeded: isLeftBehind || isOrphan };
}

/** Unambiguous, because a namespace cannot contain NUL. */
const keyOf = ({ namespace, key }: { readonly namespace: string; readonly key: string }): string =>
  `${namespace}\0${key}`;

function parentNameOf(
  { namespace, parent }: ContainerdSnapshot,
  byKey: ReadonlyMap<string, ContainerdSnapshot>,
): string | null {
  if (parent === null) return null;
  // A parent without metadata in containerd matches no snapshot of ours.
  return byKey.get(keyOf({ namespace, key: parent }))?.name ?? '';
}

/** The roots and their descendants, children before parents. */
function withDescendants(
  roots: readonly ContainerdSnapshot[],
  all: readonly ContainerdSnapshot[],
): readonly ContainerdSnapshot[] {
  const children = new Map<string, ContainerdSnapshot[]>();
  for (const snapshot of all) {
    if (snapshot.parent === null) continue;
    const parent = keyOf({ namespace: snapshot.namespace, key: snapshot.parent });
    children.set(parent, [...(children.get(parent) ?? []), snapshot]);
  }
  const ordered: ContainerdSnapshot[] = [];
  const seen = new Set<string>();
  // Iterative, because the length of a chain is unbounded.
  const pending: { readonly snapshot: ContainerdSnapshot; isExpanded: boolean }[] = [];
  for (const root of roots) {
    pending.push({ snapshot: root, isExpanded: false });
    for (let top = pending.at(-1); top !== undefined; top = pending.at(-1)) {
      const key = keyOf(top.snapshot);
      if (top.isExpanded) {
        ordered.push(top.snapshot);
        pending.pop();
      } else if (seen.has(key)) {
        pending.pop();
      } else {
        seen.add(key);
        top.isExpanded = true;
        for (const snapshot of children.get(key) ?? []) {
          pending.push({ snapshot, isExpanded: false });
        }
      }
    }
  }
  return ordered;
}

export interface CtrSettings {
  readonly snapshotter: string;
  /** Of containerd; null for the default of `ctr`. */
  readonly address: string | null;
}

/** Shell commands that make both agree, in order of execution. */
export function ctrLines(diff: ContainerdDiff, settings: CtrSettings): readonly string[] {
  const { snapshotter, address } = settings;
  const ctr = (namespace: string, ...args: readonly string[]): string =>
    [...['ctr', ...(address === null ? [] : ['--address', address]), '-n', namespace, ...args]]
      .map(shellWord)
      .join(' ');
  const snapshots = ['snapshots', '--snapshotter', snapshotter];
  const lines = diff.removals.map(({ namespace, key }) =>
    ctr(namespace, ...snapshots, 'rm', ...(key.startsWith('-') ? ['--'] : []), key),
  );
  if (!diff.isCollectionNeeded) return lines;
  if (lines.length === 0) {
    lines.push(ctr(temporaryNamespace, ...snapshots, 'prepare', temporaryKey));
    lines.push(ctr(temporaryNamespace, ...snapshots, 'rm', temporaryKey));
  }
  return [...lines, ctr(temporaryNamespace, 'content', 'prune', 'references')];
}

/** Created and removed, so that containerd collects from this snapshotter. */
const temporaryKey = 'stratalog-collect';
const temporaryNamespace = 'default';

/** Quotes a text as one shell word. */
export function shellWord(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!/\p{Cc}/u.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`;
  // Escapes control characters, which could deceive the reader; bash and zsh support this form.
  const escaped = text.replace(/[\\']/g, '\\$&').replace(/\p{Cc}/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x80
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  });
  return `$'${escaped}'`;
}

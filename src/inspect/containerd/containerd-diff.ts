/**
 * Lays what containerd remembers beside what the log says, and tells what must be removed so that
 * both agree. Pure.
 *
 * Two facts of containerd decide how (core/metadata/snapshot.go): it refuses to remove a snapshot
 * with children, so they go first; and its garbage collection asks the snapshotter for all it has
 * and removes, children first, what containerd does not remember, in any namespace. So what only
 * Stratalog has needs a collection and nothing else. It collects from a snapshotter only when
 * something of it was removed before; where there is nothing, a snapshot is made to be removed.
 *
 * A removal also makes it collect in its own memory, at once and beside the lines that are still to
 * be run: a layer that no image and no child needs any more may be gone when its line is run.
 */
import { metaOf } from '../../machines/transition-table.js';
import type { Forest } from '../../machines/snapshots/forest.js';
import type { ContainerdSnapshot } from './containerd-metadata.js';

/** A snapshot of ours, as a client is told of it. */
export interface OurSnapshot {
  readonly name: string;
  readonly parent: string | null;
  readonly kind: 'active' | 'view' | 'committed';
}

export type Difference =
  /** Nothing will ever mount or remove it but containerd's garbage collection. */
  | { readonly kind: 'OnlyInStratalog'; readonly ours: OurSnapshot }
  /** A pull or a container that needs it fails with NotFound. */
  | { readonly kind: 'OnlyInContainerd'; readonly theirs: ContainerdSnapshot }
  | {
      readonly kind: 'OtherParent';
      readonly theirs: ContainerdSnapshot;
      readonly ours: OurSnapshot;
      /** Name of the parent that containerd means; null for none. */
      readonly meant: string | null;
    };

export interface ContainerdDiff {
  readonly differences: readonly Difference[];
  /**
   * What containerd has to remove, children first: what only it has, what has another parent, and
   * all that stands on them in containerd.
   */
  readonly removals: readonly ContainerdSnapshot[];
  /** Whether containerd must collect garbage afterwards, and so remove what only Stratalog has. */
  readonly isCollectionNeeded: boolean;
}

/** Snapshots that a client may be told of. */
export function oursOf(forest: Forest): readonly OurSnapshot[] {
  const ours: OurSnapshot[] = [];
  for (const { name, parent, status } of forest.values()) {
    const kind = metaOf(status).shownAs;
    if (kind !== null) ours.push({ name, parent: parent?.name ?? null, kind });
  }
  return ours;
}

/** `counts` leaves out differences that are no more than work under way. */
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
    const meant = parentNameOf(snapshot, theirByKey);
    if (mine === undefined) found.push({ kind: 'OnlyInContainerd', theirs: snapshot });
    else if (mine.parent !== meant) {
      found.push({ kind: 'OtherParent', theirs: snapshot, ours: mine, meant });
    }
  }
  const remembered = new Set(theirs.map(({ name }) => name));
  for (const mine of ours) {
    if (!remembered.has(mine.name)) found.push({ kind: 'OnlyInStratalog', ours: mine });
  }
  const differences = found.filter(counts);
  const wrong = differences.flatMap((one) => ('theirs' in one ? [one.theirs] : []));
  const removals = withDescendants(wrong, theirs);
  const isLeftBehind = removals.some(({ name }) => ourByName.has(name));
  const isOrphan = differences.some(({ kind }) => kind === 'OnlyInStratalog');
  return { differences, removals, isCollectionNeeded: isLeftBehind || isOrphan };
}

/** Both are chosen by strangers; a namespace has no NUL in it. */
const keyOf = ({ namespace, key }: { readonly namespace: string; readonly key: string }): string =>
  `${namespace}\0${key}`;

function parentNameOf(
  { namespace, parent }: ContainerdSnapshot,
  byKey: ReadonlyMap<string, ContainerdSnapshot>,
): string | null {
  if (parent === null) return null;
  // A parent that containerd itself does not know cannot be ours.
  return byKey.get(keyOf({ namespace, key: parent }))?.name ?? '';
}

/** All of them and what stands on them, each behind its own children. */
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
  // Without recursion: chains are as long as somebody made them.
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
  /** Of containerd; null for the one that `ctr` asks by itself. */
  readonly address: string | null;
}

/** Lines for a shell that make both agree, to be run in this order. */
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
    lines.push(ctr(preallocatedNamespace, ...snapshots, 'prepare', preallocatedKey));
    lines.push(ctr(preallocatedNamespace, ...snapshots, 'rm', preallocatedKey));
  }
  return [...lines, ctr(preallocatedNamespace, 'content', 'prune', 'references')];
}

/** Made and removed at once, so that containerd collects from this snapshotter. */
const preallocatedKey = 'stratalog-collect';
const preallocatedNamespace = 'default';

/** As one word for a shell, whatever is in it. */
export function shellWord(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!/\p{Cc}/u.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`;
  // Control characters would move the cursor of whoever reads the line: bash and zsh know this form.
  const escaped = text.replace(/[\\']/g, '\\$&').replace(/\p{Cc}/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x80
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  });
  return `$'${escaped}'`;
}

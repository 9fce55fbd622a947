/**
 * Labels that mean something to a snapshotter, and the rules all labels obey.
 * Labels are requests by image and pod authors, never facts: what is true stands in the log.
 */
import type { Labels } from '../base/units.js';

export { TARGET_LABEL } from '../base/target-label.js';

/** Marks a remote snapshot in replies. Never believed when it comes in. */
export const REMOTE_LABEL = 'containerd.io/snapshot/remote';
export const REMOTE_LABEL_VALUE = 'remote snapshot';

/** Shows the upper directory in Stat, Update and List when the configuration asks for it. */
export const UPPERDIR_LABEL = 'containerd.io/snapshot/overlay.upperdir';

/**
 * On a snapshot that a repair took in from a directory alone; the value says what is not known.
 * While it is there the snapshot is not removed: containerd, which does not know its name, would
 * collect it. An operator removes the label after examining it.
 */
export const UNVERIFIED_LABEL = 'containerd.io/snapshot/stratalog.unverified';

export const UID_MAPPING_LABEL = 'containerd.io/snapshot/uidmapping';
export const GID_MAPPING_LABEL = 'containerd.io/snapshot/gidmapping';

/** Given by the unpacker since containerd 2.3: the chain the layer will get its parent from. */
export const PARENT_CHAIN_LABEL = 'containerd.io/snapshot/parent-chain-id';

/** Labels by which some snapshotters are handed registry credentials. They must not reach a disk. */
const CREDENTIAL_LABELS: ReadonlySet<string> = new Set([
  'containerd.io/snapshot/pullusername',
  'containerd.io/snapshot/pullsecret',
]);

/** Key and value together, in bytes of UTF-8 (containerd, pkg/labels/validate.go). */
export const LABEL_BYTES_MAX = 4096;

/** All labels of one snapshot together: what keeps an event a record, and an Info a message. */
export const LABELS_BYTES_MAX = 2 * 1024 * 1024;

export const NO_LABELS: Labels = new Map();

/** The first label that is over the limit, or null. */
export function oversizedLabel(labels: Labels): string | null {
  for (const [key, value] of labels) {
    // Three bytes a UTF-16 unit is the most UTF-8 can take, so most labels need no counting.
    if ((key.length + value.length) * 3 <= LABEL_BYTES_MAX) continue;
    if (utf8Length(key) + utf8Length(value) > LABEL_BYTES_MAX) return key;
  }
  return null;
}

/** Whether all labels together are over the limit. */
export function areTooMany(labels: Labels): boolean {
  let bytes = 0;
  for (const [key, value] of labels) {
    // Two for each pair in a message and in JSON; the least that a label costs.
    bytes += utf8Length(key) + utf8Length(value) + 4;
    if (bytes > LABELS_BYTES_MAX) return true;
  }
  return false;
}

/**
 * Labels as they are stored: empty values dropped (containerd, boltutil writeMap), the forgeable
 * remote mark and credentials left out.
 */
export function storedLabels(labels: Labels): Labels {
  if (labels.size === 0) return NO_LABELS;
  const stored = new Map<string, string>();
  for (const [key, value] of labels) {
    if (value !== '' && key !== REMOTE_LABEL && !CREDENTIAL_LABELS.has(key)) stored.set(key, value);
  }
  return stored.size === 0 ? NO_LABELS : stored;
}

/** Bytes of the text in UTF-8; a lone surrogate counts as the three of its replacement. */
export function utf8Length(text: string): number {
  return Buffer.byteLength(text, 'utf8');
}

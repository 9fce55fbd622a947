/** What is told of a finding: here, what is lost where a directory is gone. */
import { expect, it } from 'vitest';
import { snapshotId } from '../../src/base/units.js';
import { reportOf } from '../../src/inspect/startup/report.js';

it.each([
  ['committed', 'fs', 'the files of the layer'],
  ['active', 'fs', 'what the container had written'],
  ['active', 'work', 'nothing'],
  ['view', 'fs', 'nothing: it is read-only, and its layers are elsewhere'],
] as const)('says what is lost when a snapshot that is %s has no %s', (shownAs, name, loss) => {
  const path = `/root/snapshots/7/${name}`;
  const subject = { id: snapshotId(7), name: 'n/8/x' };
  expect(reportOf({ kind: 'MissingDirectory', ...subject, shownAs, path }, false).loss).toBe(loss);
});

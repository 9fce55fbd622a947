/** Checks one segment, as a job for a worker thread. */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { HostFault } from '../../base/errors.js';
import { guarded } from '../../host/faults.js';
import type { JobControl } from '../../host/threads/job-module.js';
import type { ReadableFile } from '../../log/read/record-pages.js';
import {
  checkSegment,
  digestSegment,
  type SegmentFacts,
  type SegmentToCheck,
  type SoundSegment,
} from '../../log/verify/sealed-segment.js';

/** Checks record by record. Fails with HostFault; ECANCELED once the job is aborted. */
export function check(segment: SegmentToCheck, control: JobControl): Promise<SoundSegment | null> {
  return opened(segment, control, (file) => checkSegment(file, segment));
}

/** Digests all records at once. Fails with HostFault; ECANCELED once the job is aborted. */
export function sum(segment: SegmentToCheck, control: JobControl): Promise<SegmentFacts | null> {
  return opened(segment, control, (file) => digestSegment(file, segment));
}

/** The thread has nothing else to do, so it reads synchronously. */
async function opened<Answer>(
  { path }: SegmentToCheck,
  control: JobControl,
  use: (file: ReadableFile) => Promise<Answer>,
): Promise<Answer> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  const fd = guarded('open', path, () => openSync(path, flags));
  const readAll = (into: Uint8Array, offset: number): number => {
    if (control.aborted()) throw new HostFault('read', path, 'ECANCELED');
    let filled = 0;
    while (filled < into.length) {
      const at = filled;
      const count = guarded('read', path, () =>
        readSync(fd, into, at, into.length - at, offset + at),
      );
      if (count === 0) break;
      filled += count;
    }
    return filled;
  };
  try {
    return await use({
      read: (into, offset) => new Promise((resolve) => resolve(readAll(into, offset))),
    });
  } finally {
    closeSync(fd);
  }
}

/** Checks one segment, as a job for a worker thread. */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { HostFault } from '../../base/errors.js';
import { guarded } from '../../host/faults.js';
import type { JobControl } from '../../host/threads/job-module.js';
import type { ReadNow } from '../../log/read/segment-bytes.js';
import {
  checkSegment,
  type SegmentFacts,
  type SegmentToCheck,
  type SoundSegment,
} from '../../log/verify/segment-check.js';
import { sumSegment } from '../../log/verify/segment-digest.js';

/** Checks record by record. @throws HostFault; ECANCELED once the job is aborted */
export function check(segment: SegmentToCheck, control: JobControl): SoundSegment | null {
  return opened(segment, control, (read) => checkSegment(segment, read));
}

/** Checks all records at once. @throws HostFault; ECANCELED once the job is aborted */
export function sum(segment: SegmentToCheck, control: JobControl): SegmentFacts | null {
  return opened(segment, control, (read) => sumSegment(segment, read));
}

function opened<Answer>(
  { path }: SegmentToCheck,
  control: JobControl,
  use: (read: ReadNow) => Answer,
): Answer {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  const fd = guarded('open', path, () => openSync(path, flags));
  try {
    return use((into, offset) => {
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
    });
  } finally {
    closeSync(fd);
  }
}

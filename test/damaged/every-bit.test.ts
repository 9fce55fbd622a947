/**
 * Goal: no single bit of a log can change unnoticed, and it is said where. Method: every bit of
 * every file of a small log, one at a time.
 *
 * The exceptions are those that docs/recovery.md names. In the newest sync group, and in the zeros
 * behind it, a flipped bit looks like a torn tail; it is found and located all the same, as a
 * warning. A bit of `identity.json` that leaves it a valid identity with another number is
 * found by what contradicts it: the segments for `uuid` and `epoch`, the file system for its id,
 * type and device number. `created` and `writtenBy` are for people only: nothing contradicts them.
 */
import { describe, expect, it } from 'vitest';
import { examineCheckpoint } from '../../src/log/checkpoint/checkpoint.js';
import { compareFileSystems, fileSystemsOf } from '../../src/log/root/file-systems.js';
import { readIdentity } from '../../src/log/root/identity.js';
import { verifyLog } from '../../src/log/verify/verify.js';
import type { LogFinding } from '../../src/log/verify/findings.js';
import { LogTooNew, RootRefused } from '../../src/log/errors.js';
import { HostFault } from '../../src/base/errors.js';
import type { Disk, DiskFile } from '../../src/base/ports.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { Deeds } from './deeds.js';
import { ROOT, UUID, writeSound } from './rig.js';

/** The files of a disk in memory, read without a wait: there are very many looks. */
function readingDisk(of: FaultyDisk): Disk {
  const files = new Map(
    of.paths().flatMap((path) => (path.includes('.') ? [[path, of.bytes(path)] as const] : [])),
  );
  const refuse = () => Promise.reject(new Error('nothing is written here'));
  const fileAt = (path: string): DiskFile => {
    const bytes = files.get(path);
    if (bytes === undefined) throw new HostFault('open', path, 'ENOENT');
    return {
      path,
      size: () => Promise.resolve(bytes.length),
      read: (into, offset) =>
        Promise.resolve(
          offset >= bytes.length ? 0 : bytes.copy(into, 0, offset, offset + into.length),
        ),
      ...{ write: refuse, writeDurably: refuse, sync: refuse, truncate: refuse },
      close: () => Promise.resolve(),
    };
  };
  return {
    open: async (path) => Promise.resolve(fileAt(path)),
    list: (directory) =>
      Promise.resolve(
        [...files.keys()].flatMap((path) =>
          path.startsWith(`${directory}/`) ? [path.slice(directory.length + 1)] : [],
        ),
      ),
    stat: () => Promise.resolve({ size: 0, device: of.device, isDirectory: true }),
    fileSystem: (directory) => of.fileSystem(directory),
    ...{ makeDirectory: refuse, rename: refuse, remove: refuse, syncDirectory: refuse },
    lock: refuse,
  };
}

async function aSmallLog(): Promise<Deeds> {
  const disk = new FaultyDisk();
  await writeSound(ROOT, disk, { events: 3, segmentsAt: [0, 2], checkpoints: [2] });
  const small = disk.copy();
  const deeds = new Deeds(small);
  // The zeros behind the records are alike: some are enough.
  for (const [name, records] of [
    [deeds.seg(0), 2],
    [deeds.seg(2), 1],
  ] as const) {
    deeds.truncate(name, deeds.record(name, records - 1).end + 24);
  }
  return deeds;
}

async function findingsOf(disk: Disk): Promise<LogFinding[]> {
  const findings: LogFinding[] = [];
  for await (const item of verifyLog({ root: ROOT, disk })) {
    if (item.kind !== 'summary') findings.push(item);
  }
  return findings;
}

/** Runs with each bit of a file flipped, one at a time. */
async function eachBit(bytes: Buffer, check: (offset: number, bit: number) => Promise<void>) {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const offset = bit >> 3;
    const mask = 1 << (bit & 7);
    bytes.writeUInt8(bytes.readUInt8(offset) ^ mask, offset);
    await check(offset, bit & 7);
    bytes.writeUInt8(bytes.readUInt8(offset) ^ mask, offset);
  }
}

describe('a single flipped bit', () => {
  it('of a segment is found, and located in its header or its record', async () => {
    const deeds = await aSmallLog();
    const disk = readingDisk(deeds.disk);
    for (const [first, records] of [
      [0, 2],
      [2, 1],
    ] as const) {
      const name = deeds.seg(first);
      const ends = Array.from({ length: records }, (_, n) => deeds.record(name, n));
      await eachBit(deeds.bytes(name), async (offset, bit) => {
        const what = `bit ${bit} of byte ${offset} in ${name}`;
        const findings = (await findingsOf(disk)).filter(({ segment }) => segment === name);
        const [found] = findings;
        expect(found, what).toBeDefined();
        const place = ends.find((one) => offset >= one.offset && offset < one.end);
        const isHeader = offset < 136;
        expect(found?.offset, what).toBe(isHeader ? 0 : (place?.offset ?? ends.at(-1)?.end));
        if (isHeader) expect(found?.kind, what).toBe('header-damaged');
        else if (place === undefined)
          expect(['stray-bytes', 'torn-tail'], what).toContain(found?.kind);
        else if (place === ends.at(-1) && first === 2) expect(found?.kind, what).toBe('torn-tail');
        else expect(found?.severity, what).toBe('damage');
      });
    }
    expect(await findingsOf(disk)).toEqual([]);
  }, 120_000);

  it('of a checkpoint makes it one that no start uses', async () => {
    const deeds = await aSmallLog();
    const disk = readingDisk(deeds.disk);
    const name = `${'2'.padStart(20, '0')}.checkpoint`;
    await eachBit(deeds.bytes(name), async (offset, bit) => {
      const what = `bit ${bit} of byte ${offset}`;
      try {
        const reading = await examineCheckpoint(disk, ROOT, { name, position: 2 }, UUID);
        expect(reading.kind, what).toBe('unusable');
      } catch (thrown) {
        // `"format":2` with a bit more is the format of a later release.
        expect(thrown, what).toBeInstanceOf(LogTooNew);
      }
    });
  }, 60_000);

  it('of the identity is found, unless only people are told what it says', async () => {
    const deeds = await aSmallLog();
    const disk = readingDisk(deeds.disk);
    const sound = await readIdentity(disk, ROOT);
    const found = await fileSystemsOf(deeds.disk, ROOT);
    let silent = 0;
    await eachBit(deeds.bytes('identity.json'), async (offset, bit) => {
      const what = `bit ${bit} of byte ${offset}`;
      let read;
      try {
        read = await readIdentity(disk, ROOT);
      } catch (thrown) {
        expect(thrown instanceof RootRefused || thrown instanceof LogTooNew, what).toBe(true);
        return;
      }
      const findings = (await findingsOf(disk)).filter(({ severity }) => severity === 'damage');
      if (findings.length > 0) return;
      if (read === null) return;
      const verdict = compareFileSystems(read.fileSystems, found, 'none');
      if (verdict.kind === 'refused' || verdict.changes.length > 0) return;
      // What is left says the same in another way, or differs in what nobody relies on.
      expect({ ...read, created: 0n, writtenBy: '', epoch: 1 }, what).toEqual({
        ...sound,
        ...{ created: 0n, writtenBy: '', epoch: 1 },
      });
      expect(read.epoch, what).toBeGreaterThanOrEqual(sound?.epoch ?? 0);
      silent += 1;
    });
    // Digits and letters of the two, the digit of the epoch, blanks.
    expect(silent).toBeGreaterThan(0);
  }, 60_000);
});

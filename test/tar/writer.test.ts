/** Goal: what is written is read by GNU tar and by our reader. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { TarReader } from '../../src/tar/reader.js';
import { fileHeader, paddingAfter, TAR_END, type WrittenFile } from '../../src/tar/writer.js';

let directory: string;
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'stratalog-tar-'));
});
afterEach(() => {
  fs.rmSync(directory, { recursive: true });
});

const modified = new Date('2026-01-31T12:00:00Z');
const written = (size: number, name = 'log/00000000000000000000.seg'): WrittenFile => {
  return { name, size, mode: 0o600, modified };
};

/** An archive of one file of zeros, most of which is a hole of its own file. */
function archiveOf(file: WrittenFile): string {
  const archive = path.join(directory, 'archive.tar');
  fs.writeFileSync(archive, fileHeader(file));
  fs.truncateSync(archive, 512 + file.size);
  fs.appendFileSync(archive, Buffer.concat([paddingAfter(file.size), TAR_END]));
  return archive;
}

it.each([0, 1, 512, 513, 8 * 2 ** 30 - 1, 8 * 2 ** 30, 2 ** 40])(
  'a file of %d bytes is listed by GNU tar, and read',
  (size) => {
    const file = written(size);
    const env = { ...process.env, TZ: 'UTC', LC_ALL: 'C' };
    const listed = execFileSync('tar', ['-tvf', archiveOf(file)], { encoding: 'utf8', env });
    expect(listed.split(/\s+/)).toEqual([
      '-rw-------',
      '0/0',
      String(size),
      '2026-01-31',
      '12:00',
      file.name,
      '',
    ]);
    const [part] = [...new TarReader().read(fileHeader(file))];
    expect(part).toMatchObject({
      kind: 'entry',
      header: { type: 'file', name: file.name, size, mode: 0o600 },
    });
  },
);

it('refuses a name that does not fit', () => {
  expect(() => fileHeader(written(0, 'n'.repeat(101)))).toThrow(RangeError);
  expect(() => fileHeader(written(0, 'n\u00e9'))).toThrow(RangeError);
});

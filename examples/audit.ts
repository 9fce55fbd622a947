/**
 * Follows the log of a running daemon, and goes on where it stopped when it is run again: the
 * position is kept in a file beside the events that were taken in, and the daemon may be stopped,
 * killed or upgraded in between.
 *
 * Run it as `node --import tsx examples/audit.ts SOCKET FILE [COUNT]`; it ends after COUNT events,
 * or when it is interrupted. In a program of your own, import from 'stratalog/audit'.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { AuditArchive, formatTime, position } from '../src/api/audit-library.js';

const [socket = '/run/stratalog/stratalog.sock', file = 'audit.position', count] =
  process.argv.slice(2);
let left = count === undefined ? Infinity : Number(count);

/** Where to go on, and in which log: positions of another one mean something else. */
async function resume(): Promise<{ uuid?: string; next: number }> {
  const text = await readFile(file, 'utf8').catch(() => '{"next":0}');
  return JSON.parse(text) as { uuid?: string; next: number };
}

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());

const archive = new AuditArchive(socket);
try {
  const { uuid = (await archive.bounds()).uuid ?? '', next: from } = await resume();
  const options = { from: position(from), uuid, signal: stop.signal };
  for await (const { records, next, isLive } of archive.followForever(options)) {
    let behind: number = next;
    for (const { position: at, time, stream, type } of records) {
      if (left === 0) break;
      console.log(`${at} ${formatTime(time)} ${stream} ${type}`);
      behind = at + 1;
      left -= 1;
    }
    // Written after the events: a crash in between repeats some, and loses none.
    await writeFile(`${file}.new`, JSON.stringify({ uuid, next: behind }));
    await rename(`${file}.new`, file);
    if (left === 0) break;
    if (isLive && records.length === 0) console.error(`nothing new; the log ends at ${next}`);
  }
} finally {
  archive.close();
}

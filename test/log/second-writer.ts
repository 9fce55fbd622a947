/** Tries to open the root named on the command line and says on stdout what came of it. */
import { RootLocked } from '../../src/log/errors.js';
import { systemDisk } from '../../src/host/files/disk.js';
import { openTestLog } from './fixtures.js';

const root = process.argv[2] ?? '';
try {
  const { log } = await openTestLog(systemDisk(), { root });
  await log.close();
  console.log(JSON.stringify({ opened: true }));
} catch (thrown) {
  if (!(thrown instanceof RootLocked)) throw thrown;
  const { name, pid, startedAt, message } = thrown;
  console.log(JSON.stringify({ name, pid, startedAt, message }));
}

/** `stratalog ui`: a page in a browser that shows a log, served from here until it is interrupted. */
import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { Command } from 'commander';
import { RELEASE } from '../../api/release.js';
import { UsageError } from '../../base/errors.js';
import { systemDisk } from '../../host/files/disk.js';
import { openHost } from '../../host/host.js';
import { readAssets } from '../../ui/assets.js';
import { isLoopback, startPage } from '../../ui/server.js';
import type { Failure, FindingRow } from '../../ui/wire.js';
import { withArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { findingsOf, settledLook } from '../root/inspect.js';
import { EXIT } from '../exit-codes.js';
import { endOf } from '../evidence/log-end.js';
import { quoted } from '../args/moment.js';
import { printing, type Output } from '../terminal/print.js';
import { rootOf } from '../args/root-option.js';

interface Flags extends ArchiveFlags {
  readonly listen: string;
  readonly allowRemote?: true;
  readonly offline?: true;
  readonly json?: true;
  /** Of commands that can ask a daemon; then there is no root to look into. */
  readonly address?: string;
}

const more = `
The page only reads. Its link holds a token that is new with each start: whoever has the link can
read the log until this command ends. To look at another machine, forward the port (the same
number at both ends), and open the printed link here:
  ssh -t -L 7420:127.0.0.1:7420 node stratalog ui --listen 127.0.0.1:7420

Examples:
  stratalog ui
  stratalog ui --root ./copied-root --offline

Exits 0 when it is interrupted, 1 when the address cannot be listened on, 2 when it is no address.`;

export function uiCommand(): Command {
  return withArchiveOption(new Command('ui'))
    .description('show the log in a browser: a time line, the snapshots, their lives; only reads')
    .option('--listen <address>', 'address and port to serve on; port 0 is any', '127.0.0.1:0')
    .option('--allow-remote', 'serve on an address that other machines reach too, without TLS')
    .option('--offline', 'a root from elsewhere: leave the mount table of this machine out')
    .option('--json', 'print the link as a JSON object')
    .addHelpText('after', more)
    .action(async (flags: Flags) => {
      await printing({ trunc: false }, (out) => run(flags, out));
      // A replay of a long log may be under way, for a page that is gone. It only reads.
      process.exit(EXIT.ok);
    });
}

async function run(flags: Flags, out: Output): Promise<void> {
  const { host, port } = listenAddress(flags);
  await withArchive(flags, systemDisk(), async (archive) => {
    const root = flags.address === undefined ? await rootOf(flags) : null;
    const page = await startPage({
      archive,
      source: root ?? flags.address ?? '',
      release: RELEASE,
      findings: root === null ? null : () => gcCandidates(root, flags.offline === true),
      damage: root === null ? null : () => damageOf(root),
      assets: await readAssets(),
      host,
      port,
      token: randomBytes(24).toString('base64url'),
    });
    try {
      // Whoever reads the link may interrupt at once.
      const end = interrupted();
      if (flags.json === true) await out.json('ui', { url: page.url });
      else await out.line(page.url);
      await out.flush();
      process.stderr.write('stratalog: open this link in a browser; an interrupt ends it\n');
      await end;
    } finally {
      await page.close();
    }
  });
}

/** @throws UsageError */
function listenAddress({ listen, allowRemote }: Flags): { host: string; port: number } {
  const [, bracketed, plain, digits = ''] =
    /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(listen) ?? [];
  const host = bracketed ?? plain ?? '';
  const port = Number(digits);
  if ((isIP(host) === 0 && host !== 'localhost') || port > 65_535) {
    throw new UsageError(
      `--listen ${quoted(listen)}: not an address and a port; say 127.0.0.1:7420, or 127.0.0.1:0`,
    );
  }
  if (!isLoopback(host) && allowRemote !== true) {
    throw new UsageError(
      `--listen ${quoted(listen)}: other machines could reach it, and nothing is encrypted. ` +
        'Listen on 127.0.0.1 and use ssh -L, or say --allow-remote as well',
    );
  }
  return { host, port };
}

async function gcCandidates(root: string, isOffline: boolean): Promise<readonly FindingRow[]> {
  const host = openHost({ root });
  try {
    const look = await settledLook({ root, host, isOffline });
    return findingsOf(look).map(({ kind, subject, evidence, action, isOrdinary, detail }) => ({
      ...{ kind, subject, evidence, action, isOrdinary },
      snapshot: detail !== null && 'id' in detail ? detail.id : null,
    }));
  } finally {
    await host.close();
  }
}

async function damageOf(root: string): Promise<Failure | null> {
  const { position, damage } = await endOf(root);
  if (damage === null) return null;
  const error = `the log is damaged at position ${position}: ${damage}. Run \`stratalog verify\``;
  return { error, position };
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      process.off('SIGINT', stop).off('SIGTERM', stop);
      resolve();
    };
    process.on('SIGINT', stop).on('SIGTERM', stop);
  });
}

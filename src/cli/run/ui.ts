/** `stratalog ui`: serves a web page that shows a log, until interrupted. */
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
import { findingRows, stableScan } from '../root/inspect.js';
import { EXIT } from '../exit-codes.js';
import { endOf } from '../evidence/log-end.js';
import { quoted } from '../args/moment.js';
import { printNotice, withOutput, type Output } from '../terminal/print.js';
import { rootOf } from '../args/root-option.js';

interface Flags extends ArchiveFlags {
  readonly listen: string;
  readonly allowRemote?: true;
  readonly offline?: true;
  readonly json?: true;
}

const more = `
The page is read-only. The link contains a token that is valid until this command exits; anyone with
the link can read the log. To view the log of another machine, forward the port (with the same
number on both ends) and open the printed link locally:
  ssh -t -L 7420:127.0.0.1:7420 node stratalog ui --listen 127.0.0.1:7420

Examples:
  stratalog ui
  stratalog ui --root ./copied-root --offline

Exits 0 when interrupted, 1 if it cannot listen on the address, 2 if the address is invalid.`;

export function uiCommand(): Command {
  return withArchiveOption(new Command('ui'))
    .description('show the log in a browser, with a timeline and all snapshots; read-only')
    .option('--listen <address>', 'address and port to serve on; port 0 is any', '127.0.0.1:0')
    .option('--allow-remote', 'allow a --listen address that other machines can reach, without TLS')
    .option('--offline', 'root of another machine: ignore the mount table of this machine')
    .option('--json', 'print the link as one JSON object')
    .addHelpText('after', more)
    .action(async (flags: Flags) => {
      await withOutput({ trunc: false }, (out) => run(flags, out));
      // Does not wait for a replay in progress: it only reads.
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
      findings: root === null ? null : () => scanFindings(root, flags.offline === true),
      damage: root === null ? null : () => damageOf(root),
      assets: await readAssets(),
      host,
      port,
      token: randomBytes(24).toString('base64url'),
    });
    try {
      // Listens before it prints: the reader of the link may interrupt at once.
      const end = interrupted();
      if (flags.json === true) await out.json('ui', { url: page.url });
      else await out.line(page.url);
      await out.flush();
      printNotice('open this link in a browser; press Ctrl-C to stop');
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
      `--listen ${quoted(listen)}: not an address and a port; use for example 127.0.0.1:7420`,
    );
  }
  if (!isLoopback(host) && allowRemote !== true) {
    throw new UsageError(
      `--listen ${quoted(listen)}: other machines can reach this address, without encryption; ` +
        'listen on 127.0.0.1 and use ssh -L, or add --allow-remote',
    );
  }
  return { host, port };
}

async function scanFindings(root: string, isOffline: boolean): Promise<readonly FindingRow[]> {
  const host = openHost({ root });
  try {
    const scan = await stableScan({ root, host, isOffline });
    return findingRows(scan).map(({ kind, subject, evidence, action, isOrdinary, detail }) => ({
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

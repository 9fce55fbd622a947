/** `stratalog layers`: remote layers and unavailable layers, from the log. */
import { Command } from 'commander';
import { formatTime, unixNanos, type SnapshotId, type UnixNanos } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { spanInWords } from '../../inspect/events/durations.js';
import {
  layersOf,
  unavailableSince,
  type LayerView,
} from '../../inspect/snapshot/remote-layers.js';
import { queryArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { EXIT } from '../exit-codes.js';
import { resolveMoment } from '../args/moment.js';
import { withOutput, visible, type Output } from '../terminal/print.js';

interface Flags extends ArchiveFlags {
  readonly unavailable?: true;
  readonly at?: string;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

/** A layer, with the time of its loss, which is not part of its state. */
interface Row extends LayerView {
  readonly since: UnixNanos | null;
}

export function layersCommand(): Command {
  return withArchiveOption(new Command('layers'))
    .description('list remote layers and unavailable layers, with their next retry')
    .option('--unavailable', 'only unavailable layers; exits 3 if there are any')
    .option('--at <moment>', 'at this position or time, or a duration before now: 120, 10m, 3d')
    .option('--json', 'print one JSON object per layer')
    .option('-q, --quiet', 'print only names')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText(
      'after',
      `
Examples:
  stratalog layers --unavailable                     which layers are unavailable, why, and the next retry
  stratalog layers --unavailable --at 2026-01-31T03:12:00Z
  stratalog layers --json | jq 'select(.attempts > 3) | .ref'

Reads only the log: works while a daemon is running, on a stopped root, and on a copy.
Exits 0, or 3 if --unavailable lists a layer.`,
    )
    .action((flags: Flags) => withOutput(flags, (out) => run(flags, out)));
}

async function run(flags: Flags, out: Output): Promise<void> {
  const now = systemClock().now();
  const rows = await queryArchive(flags, (archive) => rowsOf(archive, flags, now));
  if (flags.quiet === true) await out.lines(rows.map(({ name }) => visible(name)));
  else if (flags.json === true) for (const row of rows) await out.json('layer', jsonFields(row));
  else if (rows.length > 0) {
    await print(rows, flags.at === undefined ? now : null, out);
  } else process.stderr.write(`stratalog: ${noneInWords(flags)}\n`);
  if (flags.unavailable === true && rows.length > 0) process.exitCode = EXIT.findings;
}

const noneInWords = ({ unavailable }: Flags): string =>
  unavailable === true
    ? 'no unavailable layers'
    : 'no remote or unavailable layers; run `stratalog state` to list all snapshots';

async function rowsOf(archive: Archive, flags: Flags, now: UnixNanos): Promise<readonly Row[]> {
  const at = await resolveMoment(archive, '--at', flags.at, now);
  const { forest } = await archive.stateAt(at);
  const layers = layersOf(forest).filter(
    ({ state }) => flags.unavailable !== true || state === 'unavailable',
  );
  const lost = layers.filter(({ state }) => state === 'unavailable').map(({ id }) => id);
  const backwards = archive.read({ to: at, reverse: true });
  const since = await unavailableSince(new Set<SnapshotId>(lost), backwards);
  return layers.map((layer) => ({ ...layer, since: since.get(layer.id) ?? null }));
}

function jsonFields({ createdAt, since, ...layer }: Row): Readonly<Record<string, unknown>> {
  return {
    ...layer,
    createdAt: formatTime(createdAt),
    unavailableSince: since === null ? null : formatTime(since),
  };
}

/** `now` is null for a moment in the past: times are then absolute. */
async function print(rows: readonly Row[], now: UnixNanos | null, out: Output): Promise<void> {
  const { green, yellow } = out.colors;
  await out.table(
    ['SNAPSHOT', 'STATE', 'SINCE', 'TRIES', 'NEXT RETRY', 'FROM', 'REF', 'NAME', 'REASON'],
    rows.map((row) => {
      const isLost = row.state === 'unavailable';
      return [
        String(row.id),
        row.state === 'available' ? green(row.state) : yellow(row.state),
        row.since === null ? '-' : sinceInWords(row.since, now),
        isLost ? String(row.attempts) : '-',
        isLost ? retryInWords(row.retryAt, now) : '-',
        visible(row.fileSystem ?? 'own directory'),
        visible(row.ref ?? '-'),
        visible(row.name),
        visible(row.reason ?? ''),
      ];
    }),
  );
}

function sinceInWords(since: UnixNanos, now: UnixNanos | null): string {
  return now === null ? formatTime(since) : spanInWords(now - since);
}

function retryInWords(retryAt: string | null, now: UnixNanos | null): string {
  if (retryAt === null) return 'on next use';
  if (now === null) return visible(retryAt);
  const left = unixNanos(BigInt(Date.parse(retryAt)) * 1_000_000n) - now;
  // A running daemon retries at once, a stopped one at startup.
  return left <= 0n ? 'due' : `in ${spanInWords(left)}`;
}

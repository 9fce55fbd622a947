/** Prints what `stratalog gc` keeps and collects: as names, as JSON or as a table. */
import { formatTime, type UnixNanos } from '../../base/units.js';
import { spanInWords } from '../../inspect/events/durations.js';
import { idsInWords } from '../../inspect/events/id-ranges.js';
import { reasonInWords, type GcDecision } from '../../inspect/startup/gc.js';
import { humanSize, visible, type Output } from '../terminal/print.js';

/** The entries to collect. */
export const collectedOf = (verdicts: readonly GcDecision[]): readonly string[] =>
  verdicts.filter(({ verdict }) => verdict.kind === 'collected').map(({ entry }) => entry);

export interface GcReport {
  readonly verdicts: readonly GcDecision[];
  readonly sizes: ReadonlyMap<string, number>;
  readonly now: UnixNanos;
}

interface GcFormat {
  readonly json?: true;
  readonly quiet?: true;
}

export async function printGc(report: GcReport, format: GcFormat, out: Output): Promise<void> {
  if (format.quiet === true) await out.lines(collectedOf(report.verdicts).map(visible));
  else if (format.json === true) await printJson(report, out);
  else await printTable(report, out);
}

async function printJson({ verdicts, sizes }: GcReport, out: Output): Promise<void> {
  for (const { entry, since, verdict } of verdicts) {
    const { kind: reason, ...detail } = verdict.because;
    await out.json('gc', {
      entry,
      verdict: verdict.kind,
      reason,
      size: sizes.get(entry) ?? null,
      changedAt: since === null ? null : formatTime(since),
      ...detail,
      ...('since' in detail
        ? { since: detail.since === null ? null : formatTime(detail.since) }
        : {}),
    });
  }
}

async function printTable({ verdicts, sizes, now }: GcReport, out: Output): Promise<void> {
  const { yellow } = out.colors;
  const sizeText = (size: number | null) => (size === null ? '-' : humanSize(size));
  const rows = rowsOf(verdicts, sizes).map(({ name, size, since, verdict }) => [
    visible(name),
    verdict.kind === 'kept' ? verdict.kind : yellow(verdict.kind),
    sizeText(size),
    since === null ? '-' : spanInWords(now - since),
    visible(reasonInWords(verdict.because, formatTime)),
  ]);
  if (rows.length > 0) {
    await out.table(['DIRECTORY', 'VERDICT', 'SIZE', 'AGE', 'REASON'], rows);
    await out.line('');
  }
  for (const kind of ['kept', 'collected'] as const) {
    const entries = verdicts.filter(({ verdict }) => verdict.kind === kind);
    const bytes = entries.reduce((sum, { entry }) => sum + (sizes.get(entry) ?? 0), 0);
    const size = sizes.size === 0 ? '' : `, ${humanSize(bytes)}`;
    await out.line(`${kind.padEnd(11)} ${entries.length}${size}`);
  }
}

interface Row extends Pick<GcDecision, 'since' | 'verdict'> {
  /** The entry, or the ids of several entries. */
  readonly name: string;
  /** Bytes; null if not measured. */
  readonly size: number | null;
}

/** All preallocated directories are one row, in the place of the first. */
function rowsOf(
  verdicts: readonly GcDecision[],
  sizes: ReadonlyMap<string, number>,
): readonly Row[] {
  const preallocated = verdicts.filter(isPreallocated);
  return verdicts.flatMap((verdict) => {
    if (!isPreallocated(verdict)) {
      return [{ ...verdict, name: verdict.entry, size: sizes.get(verdict.entry) ?? null }];
    }
    return verdict === preallocated[0] ? [combinedRow(verdict, preallocated, sizes)] : [];
  });
}

const isPreallocated = ({ verdict }: GcDecision): boolean =>
  verdict.because.kind === 'preallocated';

/** The age is that of the first. */
function combinedRow(
  first: GcDecision,
  preallocated: readonly GcDecision[],
  sizes: ReadonlyMap<string, number>,
): Row {
  const measured = preallocated.flatMap(({ entry }) => sizes.get(entry) ?? []);
  const size = measured.length === 0 ? null : measured.reduce((sum, one) => sum + one, 0);
  return { ...first, name: idsInWords(preallocated.map(({ entry }) => Number(entry))), size };
}

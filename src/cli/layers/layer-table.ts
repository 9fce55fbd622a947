/** The output of `stratalog layer ls`: a table, or one JSON object per line. */
import type { ChainId } from '../../filesystems/layer-store/digest.js';
import type { LayerCondition } from '../../filesystems/layer-store/verify-layer.js';
import { humanSize, type Output } from '../terminal/print.js';

/** One layer in the format of `--json`. Sizes in bytes; null if the manifest cannot be read. */
export interface LayerRow {
  readonly chainId: ChainId;
  readonly parentChainId: ChainId | null;
  readonly diffId: string | null;
  readonly format: string | null;
  /** The size of the image file, or of the allocated blocks of a directory. */
  readonly size: number | null;
  readonly inodes: number | null;
  readonly created: string | null;
  /** What is damaged, or null. */
  readonly damage: string | null;
  /** Why the layer could not be read, or null. */
  readonly unread: string | null;
}

export function layerRow(
  chainId: ChainId,
  condition: Exclude<LayerCondition, { readonly state: 'absent' }>,
): LayerRow {
  const damage = condition.state === 'damaged' ? condition.fault : null;
  const { manifest } = condition;
  const size = manifest === null || !('image' in manifest) ? null : manifest.image.size;
  return {
    chainId,
    parentChainId: manifest?.parentChainId ?? null,
    diffId: manifest?.diffId ?? null,
    format: manifest?.format ?? null,
    size: size ?? manifest?.usage.size ?? null,
    inodes: manifest?.usage.inodes ?? null,
    created: manifest?.created ?? null,
    damage,
    unread: condition.state === 'unread' ? condition.fault : null,
  };
}

function formatCell({ format, damage, unread }: LayerRow, out: Output): string {
  if (damage !== null) return out.colors.red(`${format ?? '-'} (damaged)`);
  return unread === null ? (format ?? '-') : out.colors.red(`${format ?? '-'} (not read)`);
}

/** The first twelve digits. */
export const shortId = (chainId: ChainId): string => chainId.slice(0, 'sha256:'.length + 12);

export async function printLayers(
  rows: readonly LayerRow[],
  out: Output,
  isShort: boolean,
): Promise<void> {
  await out.table(
    ['CHAIN ID', 'FORMAT', 'SIZE', 'CREATED'],
    rows.map((row) => [
      isShort ? shortId(row.chainId) : row.chainId,
      formatCell(row, out),
      row.size === null ? '-' : humanSize(row.size),
      row.created ?? '-',
    ]),
  );
}

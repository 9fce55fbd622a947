/** How `stratalog layer ls` shows layers: the columns of ctr, or one JSON object a line. */
import Table from 'cli-table3';
import pico from 'picocolors';

import type { ChainId } from '../filesystems/layer-store/digest.js';
import type { LayerCondition } from '../filesystems/layer-store/verify-layer.js';

export const listSchema = 'stratalog.layer.v1';

/** One layer as `--json` prints it. Sizes in bytes; null where the manifest cannot be read. */
export interface LayerRow {
  readonly chainId: ChainId;
  readonly parentChainId: ChainId | null;
  readonly diffId: string | null;
  readonly format: string | null;
  /** Of the image file; of a directory's allocated blocks. */
  readonly size: number | null;
  readonly inodes: number | null;
  readonly created: string | null;
  /** What is wrong with it, or null. */
  readonly damage: string | null;
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
  };
}

/** The first twelve digits, enough to tell layers apart by eye. */
export const shortId = (chainId: ChainId): string => chainId.slice(0, 'sha256:'.length + 12);

export function layerTable(rows: readonly LayerRow[], isShort: boolean): string {
  const none = { top: '', bottom: '', left: '', right: '', mid: '', middle: '   ' };
  const corners = {
    ...{ 'top-mid': '', 'top-left': '', 'top-right': '', 'bottom-mid': '' },
    ...{ 'bottom-left': '', 'bottom-right': '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  };
  const table = new Table({
    head: ['CHAIN ID', 'FORMAT', 'SIZE', 'CREATED'],
    chars: { ...none, ...corners },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) {
    table.push([
      isShort ? shortId(row.chainId) : row.chainId,
      row.damage === null ? (row.format ?? '-') : pico.red(`${row.format ?? '-'} (damaged)`),
      row.size === null ? '-' : binarySize(row.size),
      row.created ?? '-',
    ]);
  }
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** As ctr writes sizes: `3.4 MiB`. */
function binarySize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ''}`;
}

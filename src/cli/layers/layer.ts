/** `stratalog layer`: imports and lists the layers of a layer store, without a daemon. */
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';

import { UsageError } from '../../base/errors.js';
import { isDigest } from '../../filesystems/layer-store/digest.js';
import type { ChainId } from '../../filesystems/layer-store/digest.js';
import type { Platform } from '../../filesystems/layer-store/import/image-manifest.js';
import {
  formatPlatform,
  hostPlatform,
  parsePlatform,
} from '../../filesystems/layer-store/import/image-manifest.js';
import { openSource, parseSource } from '../../filesystems/layer-store/import/image-source.js';
import type { LayerSource } from '../../filesystems/layer-store/import/import-layer.js';
import {
  entriesMaxDefault,
  tarBytesMaxDefault,
} from '../../filesystems/layer-store/import/import-layer.js';
import { importLayers } from '../../filesystems/layer-store/import/import-image.js';
import type { LayerFormat } from '../../filesystems/layer-store/layout.js';
import { layerFormats } from '../../filesystems/layer-store/layout.js';
import { listLayers, openStore } from '../../filesystems/layer-store/store-directory.js';
import { fullCheck, quickCheck } from '../../filesystems/layer-store/verify-layer.js';
import { systemMountTable } from '../../host/mounts/mounts.js';
import { WorkerPool } from '../../host/threads/workers.js';
import { parseSize } from '../../daemon/config/config-values.js';
import { RELEASE } from '../../api/release.js';
import { refuseInRoot } from '../../api/root/root-path.js';
import { EXIT } from '../exit-codes.js';
import { layerRow, printLayers, shortId } from './layer-table.js';
import { withOutput, type Output } from '../terminal/print.js';
import { progressLine } from './progress-line.js';

interface ImportFlags {
  readonly layerStore: string;
  readonly format: LayerFormat;
  readonly platform: Platform;
  readonly chainId?: ChainId;
  readonly parent?: ChainId;
  readonly force?: true;
  readonly maxSize: number;
  readonly json?: true;
}

interface ListFlags {
  readonly layerStore: string;
  readonly json?: true;
  readonly quiet?: true;
  /** False for `--no-trunc`. */
  readonly trunc: boolean;
  readonly check?: true;
}

const storeOption = (): Option =>
  new Option('--layer-store <dir>', 'directory of the layer store').makeOptionMandatory();

/** The `layer` command with its sub-commands. */
export function layerCommand(): Command {
  const command = new Command('layer').description('manage the layers of a layer store');
  command
    .command('import')
    .description('import layers from an OCI layout, a tar or the content store of containerd')
    .argument('<source>', 'oci:LAYOUT:TAG, content:CONTAINERD-ROOT@sha256:DIGEST or tar:FILE')
    .addOption(storeOption())
    .addOption(
      new Option('--format <format>', 'format in which layers are stored')
        .choices([...layerFormats])
        .default('directory'),
    )
    .addOption(
      new Option('--platform <platform>', 'os/architecture of the image')
        .argParser(platformFlag)
        .default(hostPlatform(), formatPlatform(hostPlatform())),
    )
    .option('--chain-id <digest>', 'chain ID of the layer in tar:FILE', digestFlag)
    .option('--parent <digest>', 'chain ID of the parent of the layer in tar:FILE', digestFlag)
    .option('--force', 'replace existing layers')
    .addOption(
      new Option('--max-size <size>', 'maximum unpacked size of a layer')
        .argParser(sizeFlag)
        .default(tarBytesMaxDefault, `${tarBytesMaxDefault / 2 ** 30}GiB`),
    )
    .option('--json', 'print one JSON object per layer')
    .action((source: string, flags: ImportFlags, self: Command) => {
      const isDefault = self.getOptionValueSource('platform') === 'default';
      const platform = isDefault ? null : flags.platform;
      return withOutput({}, (out) => runImport(source, { ...flags, platform }, out));
    });
  command
    .command('ls')
    .alias('list')
    .description('list the layers of a store')
    .addOption(storeOption())
    .option('-q, --quiet', 'print only chain IDs')
    .option('--no-trunc', 'do not shorten chain IDs')
    .option('--json', 'print one JSON object per layer')
    .option('--check', 'verify the content of every layer; exits 3 on damage')
    .action((flags: ListFlags) => withOutput(flags, (out) => runList(flags, out)));
  return command;
}

/** Null accepts any platform if the image has only one. */
type ImportRequest = Omit<ImportFlags, 'platform'> & { readonly platform: Platform | null };

async function runImport(source: string, flags: ImportRequest, out: Output): Promise<void> {
  if (process.geteuid?.() !== 0) {
    throw new UsageError(
      'importing layers requires root privileges, to set owners, devices and trusted attributes',
    );
  }
  await refuseInRoot(resolve(flags.layerStore));
  const sources = openSource(parseSource(source), flags.platform, tarChainOf(flags));
  const workers = new WorkerPool();
  const stop = new AbortController();
  const interrupt = (): void => {
    stop.abort(new Error('interrupted'));
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const progress = progressLine(process.stderr, sources.length);
  try {
    const imported = importLayers(flags.layerStore, sources, {
      format: flags.format,
      force: flags.force === true,
      tarBytesMax: flags.maxSize,
      entriesMax: entriesMaxDefault,
      release: RELEASE,
      mountTable: systemMountTable(workers),
      now: () => new Date(),
      warn: (message) => progress.print(`warning: ${message}`),
      progress: (layer: LayerSource, bytes) => progress.advance(layer, bytes),
      signal: stop.signal,
    });
    for await (const { chainId, outcome } of imported) {
      progress.done();
      if (flags.json) await out.json('layer-import', { chainId, outcome });
      else await out.line(`${chainId} ${outcome}`);
      // Printed at once: the next layer may take minutes.
      await out.flush();
    }
  } finally {
    progress.close();
    process.removeListener('SIGINT', interrupt).removeListener('SIGTERM', interrupt);
    await workers.close();
  }
}

function tarChainOf(flags: ImportRequest): {
  readonly chainId: ChainId;
  readonly parentChainId: ChainId | null;
} | null {
  const { chainId, parent } = flags;
  if (chainId !== undefined) return { chainId, parentChainId: parent ?? null };
  if (parent === undefined) return null;
  throw new UsageError('--parent requires --chain-id');
}

async function runList(flags: ListFlags, out: Output): Promise<void> {
  const store = openStore(flags.layerStore);
  const rows = [];
  let damaged = 0;
  let unread = 0;
  for (const chainId of listLayers(store)) {
    const condition = flags.check ? await fullCheck(store, chainId) : quickCheck(store, chainId);
    // A concurrent import may be replacing it.
    if (condition.state === 'absent') continue;
    if (condition.state === 'damaged') {
      damaged += 1;
      const detail = `${shortId(chainId)}: ${condition.fault}`;
      process.stderr.write(`damaged: ${detail}; import it again with --force\n`);
    }
    if (condition.state === 'unread') {
      unread += 1;
      process.stderr.write(`cannot read layer: ${shortId(chainId)}: ${condition.fault}\n`);
    }
    const row = layerRow(chainId, condition);
    if (flags.quiet) await out.line(chainId);
    else if (flags.json) await out.json('layer-listing', { ...row });
    else rows.push(row);
  }
  if (flags.quiet !== true && flags.json !== true) {
    await printLayers(rows, out, flags.trunc);
  }
  if (unread > 0) process.exitCode = EXIT.failed;
  else if (damaged > 0 && flags.check) process.exitCode = EXIT.findings;
}

function platformFlag(text: string): Platform {
  return parsePlatform(text);
}

function digestFlag(text: string): ChainId {
  if (isDigest(text)) return text;
  throw new InvalidArgumentError('Use sha256: and 64 hex digits.');
}

/** Parses a size as the configuration does. */
function sizeFlag(text: string): number {
  const bytes = parseSize(text);
  if (bytes !== null && bytes > 0) return bytes;
  throw new InvalidArgumentError('Use for example 500MiB or 64GiB.');
}

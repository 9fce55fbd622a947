/** `--root`, for commands that read a root without a daemon. */
import { readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { errnoOf, reasonOf, UsageError } from '../../base/errors.js';
import { defaultConfigFile, readConfigText } from '../../daemon/config/config-file.js';
import { errnoHint } from '../../base/errno-hints.js';
import { isUtf8 } from '../../base/paths.js';
import { systemDisk } from '../../host/files/disk.js';
import { logDirectory } from '../../log/files.js';
import { compareFileSystems, fileSystemsOf } from '../../log/root/file-systems.js';
import { fileSystemRefused, readIdentityIfSound } from '../../log/root/identity.js';

export function withRootOption(command: Command): Command {
  return command
    .option('--root <dir>', 'root directory (default: $STRATALOG_ROOT, else the configured root)')
    .option('-c, --config <file>', `configuration file (default: ${defaultConfigFile})`);
}

export interface RootFlags {
  readonly root?: string;
  readonly config?: string;
}

/**
 * The absolute path of the root.
 *
 * @throws UsageError if the directory is not a root, RootRefused if the disk of its log is not
 *   mounted: neither must look like an empty log.
 */
export async function rootOf(flags: RootFlags): Promise<string> {
  const root = await rootEvenWithoutLog(flags);
  await refuseMissingLog(root);
  return root;
}

/**
 * The same for a command that reports a missing log itself. The configuration is only read if no
 * root is given, so that a copied root can be inspected on any machine.
 *
 * @throws UsageError if the directory is not a root
 */
export async function rootEvenWithoutLog(flags: RootFlags): Promise<string> {
  const named = flags.root ?? process.env['STRATALOG_ROOT'] ?? '';
  const root = named !== '' ? resolve(named) : await configuredRoot(flags.config);
  requireUtf8(root);
  const parts = ['identity.json', 'log', 'snapshots'];
  let isRoot = false;
  // One after the other, so that a path that cannot be read is always the same one.
  for (const name of parts) if (await exists(`${root}/${name}`)) isRoot = true;
  if (!isRoot) {
    throw new UsageError(
      `${root} is not a root: it has no ${parts.join(', ')}; ` +
        'give the directory that contains them with --root',
    );
  }
  return root;
}

/** The file systems are only checked if there is no segment. */
async function refuseMissingLog(root: string): Promise<void> {
  const disk = systemDisk();
  if ((await segmentNames(root)).length > 0) return;
  const identity = await readIdentityIfSound(disk, root);
  if (identity === null) return;
  const found = await fileSystemsOf(disk, root);
  const comparison = compareFileSystems(identity.fileSystems, found, 'copy');
  if (comparison.kind === 'refused') throw fileSystemRefused(root, comparison);
}

async function segmentNames(root: string): Promise<readonly string[]> {
  try {
    return (await readdir(logDirectory(root))).filter((name) => name.endsWith('.seg'));
  } catch (thrown) {
    const code = errnoOf(thrown);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw thrown;
  }
}

/** @throws UsageError */
export function requireUtf8(path: string): void {
  if (isUtf8(path)) return;
  throw new UsageError(`path ${path} is not valid UTF-8; rename it, or make a link to it`);
}

async function configuredRoot(configFile: string | undefined): Promise<string> {
  const { loadConfig } = await import('../../daemon/config/config.js');
  const { config } = await loadConfig({
    configFile,
    env: process.env,
    readFile: readConfigText,
  });
  return config.root;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (thrown) {
    const code = errnoOf(thrown);
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    const why = `${reasonOf(thrown)}${errnoHint(thrown)}`;
    throw new UsageError(`cannot stat ${path}: ${why}`, { cause: thrown });
  }
}

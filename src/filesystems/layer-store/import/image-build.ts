/**
 * Makes an EROFS or squashfs image of a staged directory by the formats' own tools. The same
 * directory gives the same image where the tool allows: fixed uuid, fixed time of making, one
 * order. A file's own times stay; squashfs keeps whole seconds between 1970 and 2106 only.
 */
import { execFile } from 'node:child_process';
import { closeSync, lstatSync, openSync, readdirSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';

import { errnoOf, UsageError } from '../../../base/errors.js';
import type { ChainId } from '../digest.js';
import { hexOf } from '../digest.js';
import type { ImageManifest } from '../manifest.js';

const run = promisify(execFile);

type ImageFormat = ImageManifest['format'];

interface Tool {
  readonly program: string;
  readonly debianPackage: string;
  readonly versionArguments: readonly string[];
  readonly versionForm: RegExp;
}

const tools: Readonly<Record<ImageFormat, Tool>> = {
  erofs: {
    program: 'mkfs.erofs',
    debianPackage: 'erofs-utils',
    versionArguments: ['--version'],
    versionForm: /mkfs\.erofs (?:\(erofs-utils\) )?v?(\S+)/,
  },
  squashfs: {
    program: 'mksquashfs',
    debianPackage: 'squashfs-tools',
    versionArguments: ['-version'],
    versionForm: /mksquashfs version (\S+)/,
  },
};

/**
 * The tool's name and version, for the manifest. Called before anything is unpacked.
 *
 * @throws UsageError with the package to install if the tool is missing
 */
export async function imageTool(format: ImageFormat): Promise<Readonly<Record<string, string>>> {
  const tool = tools[format];
  const { stdout, stderr } = await call(tool, tool.versionArguments).catch((thrown: unknown) => {
    // Some releases of mksquashfs print their version and exit 1.
    if (thrown instanceof Error && 'stdout' in thrown && 'stderr' in thrown) {
      return { stdout: String(thrown.stdout), stderr: String(thrown.stderr) };
    }
    throw thrown;
  });
  const version = tool.versionForm.exec(`${stdout}\n${stderr}`)?.[1] ?? 'unknown';
  return { [tool.program]: version };
}

/** Builds the image file, which must not exist, from a directory. */
export async function buildImage(
  format: ImageFormat,
  directory: string,
  image: string,
  chainId: ChainId,
  signal: AbortSignal,
): Promise<void> {
  const tool = tools[format];
  const given =
    format === 'erofs'
      ? erofsArguments(directory, image, chainId)
      : squashfsArguments(directory, image);
  await call(tool, given, signal).catch((thrown: unknown) => {
    throw toolFault(tool, directory, thrown);
  });
  if (format === 'erofs') clearBuildTime(image);
}

function erofsArguments(directory: string, image: string, chainId: ChainId): readonly string[] {
  return [
    '--quiet',
    '-d1',
    // Extended inodes hold the time with its nanoseconds and owners over 16 bits.
    '-Eforce-inode-extended,nosbcrc',
    '--preserve-mtime',
    // Attributes carried by even one file are kept; 0 would drop none either, but not share any.
    '-x1',
    `-U${uuidFrom(chainId)}`,
    image,
    directory,
  ];
}

function squashfsArguments(directory: string, image: string): readonly string[] {
  const fixed = ['-noappend', '-no-progress', '-quiet', '-xattrs', '-mkfs-time', '0'];
  return [directory, image, ...fixed, '-comp', 'zstd'];
}

/**
 * mkfs.erofs 1.5 has no option to fix the time of making while it keeps the files' times.
 * The time is in the superblock (offset 1024) at 24, its nanoseconds at 32; extended inodes do
 * not refer to it. `nosbcrc` left the superblock without a checksum that would now be wrong.
 * Source: linux/fs/erofs/erofs_fs.h, struct erofs_super_block.
 */
function clearBuildTime(image: string): void {
  const fd = openSync(image, 'r+');
  try {
    writeSync(fd, new Uint8Array(12), 0, 12, 1024 + 24);
  } finally {
    closeSync(fd);
  }
}

/** The image's uuid, so that the same layer has the same one. */
function uuidFrom(chainId: ChainId): string {
  const hex = hexOf(chainId);
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`];
  return [...parts, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-');
}

async function call(
  tool: Tool,
  programArguments: readonly string[],
  signal?: AbortSignal,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const limits = { maxBuffer: 1024 * 1024, killSignal: 'SIGKILL' } as const;
  // SOURCE_DATE_EPOCH of the environment would clamp the times of files.
  const env = { ...process.env, LC_ALL: 'C', SOURCE_DATE_EPOCH: undefined };
  const options = signal === undefined ? { ...limits, env } : { ...limits, env, signal };
  try {
    return await run(tool.program, [...programArguments], options);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') {
      throw new UsageError(
        `${tool.program} is not installed: it comes with the Debian package ${tool.debianPackage}`,
        { cause: thrown },
      );
    }
    signal?.throwIfAborted();
    throw thrown;
  }
}

/** The tool's last line on stderr, and a hint for known problems. */
function toolFault(tool: Tool, directory: string, thrown: unknown): unknown {
  if (!(thrown instanceof Error) || !('stderr' in thrown)) return thrown;
  const reported = String(thrown.stderr).trim().split('\n').at(-1) ?? '';
  const hint =
    tool === tools.erofs && hasNameOf255Bytes(directory)
      ? '; the layer has a name of 255 bytes, which mkfs.erofs 1.5 cannot store: use another format'
      : '';
  return new Error(`${tool.program} failed: ${reported}${hint}`, { cause: thrown });
}

function hasNameOf255Bytes(directory: string): boolean {
  const pending = [Buffer.from(directory)];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    for (const name of readdirSync(path, { encoding: 'buffer' })) {
      if (name.length === 255) return true;
      const child = Buffer.concat([path, Buffer.from('/'), name]);
      if (lstatSync(child).isDirectory()) pending.push(child);
    }
  }
  return false;
}

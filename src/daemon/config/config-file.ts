/** Reads a configuration file as text. */
import { isUtf8 } from 'node:buffer';
import { open } from 'node:fs/promises';
import { UsageError } from '../../base/errors.js';

export const defaultConfigFile = '/etc/stratalog/config.toml';
export const defaultAddress = '/run/stratalog/stratalog.sock';

/** The sample file with all settings has 8 KiB. */
const bytesMax = 2 ** 20;

/**
 * Rejects files that are too large or not UTF-8 instead of decoding them partially. The path may be
 * a pipe (`--config <(…)`).
 *
 * @throws UsageError; errno errors of fs
 */
export async function readConfigText(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const bytes = Buffer.alloc(bytesMax + 1);
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, null);
      if (bytesRead === 0) return textOf(path, bytes.subarray(0, filled));
      filled += bytesRead;
    }
  } finally {
    await file.close();
  }
  throw new UsageError(`${path} is larger than 1 MiB, which is the limit for a configuration file`);
}

function textOf(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    // Checked line by line: a newline byte is never part of a longer UTF-8 character.
    const lines = bytes.toString('latin1').split('\n');
    const line = lines.findIndex((each) => !isUtf8(Buffer.from(each, 'latin1'))) + 1;
    throw new UsageError(`${path}:${line}: invalid UTF-8; save the file as UTF-8`, { cause });
  }
}

/** Reads a configuration file as text, whatever stands under its name. */
import { isUtf8 } from 'node:buffer';
import { open } from 'node:fs/promises';
import { UsageError } from '../../base/errors.js';

export const defaultConfigFile = '/etc/stratalog/config.toml';
export const defaultAddress = '/run/stratalog/stratalog.sock';

/** The sample file with every setting and its meaning has 8 KiB. */
const bytesMax = 2 ** 20;

/**
 * The text of a file that may be too large or not text at all: half of a gibberish path is no
 * path that anybody meant. Pipes are read too (`--config <(…)`).
 *
 * @throws UsageError when it is no text or no configuration; errno errors as fs has them.
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
  throw new UsageError(`${path} has more than 1 MiB and is no configuration; name the right file`);
}

function textOf(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    // Each line for itself: a character never spans two of them.
    const lines = bytes.toString('latin1').split('\n');
    const line = lines.findIndex((each) => !isUtf8(Buffer.from(each, 'latin1'))) + 1;
    throw new UsageError(`${path}:${line}: this is not UTF-8; save the file as UTF-8`, { cause });
  }
}

/** What the log tells of the settings that were in force at a moment. */
import type { Position } from '../../base/units.js';
import type { Archive } from './archive.js';

/** As far as DaemonStarted told them; null where it did not. */
export interface SettingsAt {
  /** The path of the root as the daemon knew it. */
  readonly root: string | null;
  readonly durability: string | null;
  readonly mountOptions: readonly string[] | null;
  /** Name of the remote file system; null when none was configured. */
  readonly fileSystem: string | null;
  /** Whether it was told at all which file system there was. */
  readonly knowsFileSystem: boolean;
  /** Where the daemon was started. */
  readonly since: Position;
}

/** Of the newest start before a position; null when none is kept. */
export async function settingsAt(archive: Archive, at: Position): Promise<SettingsAt | null> {
  for await (const batch of archive.read({ to: at, stream: 'daemon', reverse: true })) {
    for (const record of batch) {
      if (record.type !== 'DaemonStarted') continue;
      return settingsIn(record.data['settings'], record.position);
    }
  }
  return null;
}

export function settingsIn(settings: unknown, since: Position): SettingsAt {
  const told = new Map(
    typeof settings === 'object' && settings !== null ? Object.entries(settings) : [],
  );
  const text = (name: string): string | null => {
    const value: unknown = told.get(name);
    return typeof value === 'string' ? value : null;
  };
  const options: unknown = told.get('mountOptions');
  return {
    root: text('root'),
    durability: text('durability'),
    mountOptions: isTexts(options) ? options : null,
    fileSystem: text('fileSystem'),
    knowsFileSystem: told.has('fileSystem'),
    since,
  };
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === 'string');

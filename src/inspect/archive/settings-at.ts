/** The settings in force at a position, from DaemonStarted events. */
import type { Position } from '../../base/units.js';
import type { Archive } from './archive.js';

/** As recorded by DaemonStarted; null if not recorded. */
export interface SettingsAt {
  /** Path of the root as configured. */
  readonly root: string | null;
  readonly durability: string | null;
  readonly mountOptions: readonly string[] | null;
  /** Name of the remote file system; null if none was configured. */
  readonly fileSystem: string | null;
  /** Whether the event recorded the file system. */
  readonly knowsFileSystem: boolean;
  /** Position of DaemonStarted. */
  readonly since: Position;
}

/** The settings of the last DaemonStarted before a position; null if it is retired. */
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
  const recorded = new Map(
    typeof settings === 'object' && settings !== null ? Object.entries(settings) : [],
  );
  const text = (name: string): string | null => {
    const value: unknown = recorded.get(name);
    return typeof value === 'string' ? value : null;
  };
  const options: unknown = recorded.get('mountOptions');
  return {
    root: text('root'),
    durability: text('durability'),
    mountOptions: isTexts(options) ? options : null,
    fileSystem: text('fileSystem'),
    knowsFileSystem: recorded.has('fileSystem'),
    since,
  };
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === 'string');

/** Configuration as text to be written to files: our own sample, and containerd's side of it. */
import { stringify } from 'smol-toml';
import { UsageError } from '../../base/errors.js';
import { defaultConfigFile } from './config-file.js';
import { configEntries } from './config-schema.js';
import type { Config } from './config.js';

const width = 100;

/** The sample file: every setting with its default and its meaning. Loading it changes nothing. */
export function defaultConfigText(): string {
  const lines = [
    ...comment(`Configuration of stratalog serve, read from ${defaultConfigFile}.`),
    ...comment(
      'Every setting stands here with its default. Flags and the environment variables STRATALOG_ROOT, STRATALOG_ADDRESS and STRATALOG_LOG_LEVEL come before this file. "stratalog config check" tells whether it is right.',
    ),
  ];
  for (const entry of configEntries()) {
    const name = entry.path.at(-1) ?? '';
    lines.push('', ...comment(entry.description));
    if (entry.kind === 'group') lines.push(`[${entry.path.join('.')}]`);
    else if (entry.fallback !== undefined) lines.push(assignment(name, entry.fallback));
    else lines.push(`# ${assignment(name, entry.example)}`);
  }
  return `${lines.join('\n')}\n`;
}

const assignment = (name: string, value: unknown): string => stringify({ [name]: value }).trim();

function comment(text: string): string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > width) {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** The lines of containerd whose configuration files differ for a snapshotter. */
export const containerdLines = ['1.6', '1.7', '2.x'] as const;
export type ContainerdLine = (typeof containerdLines)[number];

/** Snapshotters of containerd itself, in any of its lines (plugins/snapshots in its repository). */
const builtIn: ReadonlySet<string> = new Set([
  ...['aufs', 'blockfile', 'btrfs', 'devmapper', 'erofs', 'native', 'overlayfs', 'zfs'],
]);

/** What containerd's side depends on, besides our configuration. */
export interface ContainerdSide {
  /** The plugin's name in containerd. */
  readonly name: string;
  readonly line: ContainerdLine;
  /** Why layers cannot be mounted with mapped ids on this host; null when they can. */
  readonly whyNoIdMapping: string | null;
}

/**
 * What to add to /etc/containerd/config.toml.
 *
 * `exports.root` is in all of them: without it the kubelet measures the wrong file system and
 * never collects. `rebase` is in none: with it, images lose their lower layers (containerd #13264).
 *
 * @throws UsageError for a name that containerd has given away itself
 */
export function containerdConfigText(
  config: Pick<Config, 'root' | 'address'>,
  { name, line, whyNoIdMapping }: ContainerdSide,
): string {
  if (name === '' || builtIn.has(name)) {
    throw new UsageError(
      name === ''
        ? 'the name of a plugin cannot be empty; choose one, such as stratalog'
        : `containerd has a snapshotter named ${name}, and ends at its start when a proxy plugin has ` +
            'that name too, even if its own is disabled; choose another name, such as stratalog',
    );
  }
  const quoted = (value: string): string => JSON.stringify(value);
  const plugin = /^[\w-]+$/.test(name) ? name : quoted(name);
  const versionTwo = line !== '2.x';
  return `# For /etc/containerd/config.toml of containerd ${line}. If that file has a version already, keep its own.
# Where a section stands already, put its lines there; a table may stand only once.
version = ${versionTwo ? 2 : 3}

[proxy_plugins.${plugin}]
  type = "snapshot"
  address = ${quoted(config.address)}
${line === '1.6' ? '' : capabilityText(line, whyNoIdMapping)}  [proxy_plugins.${plugin}.exports]
    # The kubelet measures this file system. Without it, image garbage collection never runs.
${line === '2.x' ? '' : `    # (${line === '1.6' ? '1.6.32' : '1.7.16'} and later)\n`}    root = ${quoted(config.root)}
${
  versionTwo
    ? ''
    : `    # The transfer service then tells the snapshotter which image a layer belongs to (2.1 and later).
    enable_remote_snapshot_annotations = "true"
`
}
${versionTwo ? criTextV2(name, quoted) : criTextV3(name, quoted)}`;
}

/**
 * User namespaces work with it and without it; without it, each pair of image and maps is a copy
 * of all files of the image. Before 1.7.23 proxy plugins have no capabilities, and it is ignored.
 */
function capabilityText(line: ContainerdLine, whyNoIdMapping: string | null): string {
  const since = line === '1.7' ? ' (1.7.23 and later)' : '';
  const capability = 'capabilities = ["remap-ids"]';
  if (whyNoIdMapping === null) {
    return `  # In user namespaces, layers are mounted with mapped ids, instead of copied and chowned${since}.
  ${capability}
`;
  }
  const reason = whyNoIdMapping.replaceAll(/\s+/g, ' ');
  const lines = comment(
    `Not on this host, where containerd copies and chowns images for user namespaces: ${reason}`,
  );
  return [...lines, `# ${capability}`].map((text) => `  ${text}\n`).join('');
}

function criTextV2(name: string, quoted: (value: string) => string): string {
  return `[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = ${quoted(name)}
  # Otherwise the labels that name image and layer do not reach the snapshotter.
  disable_snapshot_annotations = false
`;
}

function criTextV3(name: string, quoted: (value: string) => string): string {
  return `[plugins."io.containerd.cri.v1.images"]
  snapshotter = ${quoted(name)}
  # Otherwise the labels that name image and layer do not reach the snapshotter.
  disable_snapshot_annotations = false

# Pulls through the transfer service ("ctr images pull") are unpacked only into snapshotters listed
# here, and this list replaces the default one.
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux"
  snapshotter = "overlayfs"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux"
  snapshotter = ${quoted(name)}
`;
}

/** Generates configuration text: our own sample file, and containerd's configuration. */
import { stringify } from 'smol-toml';
import { UsageError } from '../../base/errors.js';
import { defaultConfigFile } from './config-file.js';
import { configEntries } from './config-schema.js';
import type { Config } from './config.js';

const width = 100;

/** The sample file: every setting with its default and description. */
export function defaultConfigText(): string {
  const lines = [
    ...comment(`Configuration of stratalog serve, read from ${defaultConfigFile}.`),
    ...comment(
      'All settings are listed with their defaults. Flags and the environment variables STRATALOG_ROOT, STRATALOG_ADDRESS and STRATALOG_LOG_LEVEL override this file. Check it with "stratalog config check".',
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

/** containerd release lines whose snapshotter configuration differs. */
export const containerdLines = ['1.6', '1.7', '2.x'] as const;
export type ContainerdLine = (typeof containerdLines)[number];

/** containerd's built-in snapshotters of any release line (plugins/snapshots in its repository). */
const builtIn: ReadonlySet<string> = new Set([
  ...['aufs', 'blockfile', 'btrfs', 'devmapper', 'erofs', 'native', 'overlayfs', 'zfs'],
]);

export interface ContainerdSide {
  /** The plugin's name in containerd. */
  readonly name: string;
  readonly line: ContainerdLine;
  /** Why layers cannot be mounted with mapped ids on this host; null if they can. */
  readonly whyNoIdMapping: string | null;
}

/**
 * The text to add to /etc/containerd/config.toml.
 *
 * Always sets `exports.root`: without it the kubelet measures the wrong file system and never
 * collects images. Never sets `rebase`: images would lose their lower layers (containerd #13264).
 *
 * @throws UsageError for the name of a built-in snapshotter
 */
export function containerdConfigText(
  config: Pick<Config, 'root' | 'address'>,
  { name, line, whyNoIdMapping }: ContainerdSide,
): string {
  if (name === '' || builtIn.has(name)) {
    throw new UsageError(
      name === ''
        ? 'the plugin name must not be empty; choose one, such as stratalog'
        : `${name} is a built-in snapshotter of containerd, which fails to start if a proxy plugin ` +
            'has the same name, even if the built-in is disabled; choose another name, such as stratalog',
    );
  }
  const quoted = (value: string): string => JSON.stringify(value);
  const plugin = /^[\w-]+$/.test(name) ? name : quoted(name);
  const versionTwo = line !== '2.x';
  return `# For /etc/containerd/config.toml of containerd ${line}. If the file already has a version, keep it.
# If a section already exists, merge these lines into it: TOML allows each table only once.
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
    : `    # The transfer service then passes the image of each layer to the snapshotter (2.1 and later).
    enable_remote_snapshot_annotations = "true"
`
}
${versionTwo ? criTextV2(name, quoted) : criTextV3(name, quoted)}`;
}

/**
 * User namespaces also work without the capability, but containerd then copies all files of an
 * image for each mapping. Before 1.7.23 containerd ignores capabilities of proxy plugins.
 */
function capabilityText(line: ContainerdLine, whyNoIdMapping: string | null): string {
  const since = line === '1.7' ? ' (1.7.23 and later)' : '';
  const capability = 'capabilities = ["remap-ids"]';
  if (whyNoIdMapping === null) {
    return `  # In user namespaces, mount layers with mapped ids instead of copying and chowning them${since}.
  ${capability}
`;
  }
  const reason = whyNoIdMapping.replaceAll(/\s+/g, ' ');
  const lines = comment(
    `Not supported on this host, so containerd copies and chowns images for user namespaces: ${reason}`,
  );
  return [...lines, `# ${capability}`].map((text) => `  ${text}\n`).join('');
}

function criTextV2(name: string, quoted: (value: string) => string): string {
  return `[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = ${quoted(name)}
  # Required for the snapshotter to receive the labels that name image and layer.
  disable_snapshot_annotations = false
`;
}

function criTextV3(name: string, quoted: (value: string) => string): string {
  return `[plugins."io.containerd.cri.v1.images"]
  snapshotter = ${quoted(name)}
  # Required for the snapshotter to receive the labels that name image and layer.
  disable_snapshot_annotations = false

# The transfer service ("ctr images pull") unpacks only into the snapshotters listed here. This list
# replaces the default one.
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux"
  snapshotter = "overlayfs"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux"
  snapshotter = ${quoted(name)}
`;
}

/**
 * All settings with type, default and description. The sample file, the validation and the typed
 * configuration are derived from this table.
 */
import * as z from 'zod';
import { defaultAddress } from './config-file.js';
import {
  duration,
  httpAddress,
  optionalPath,
  optionalSocketPath,
  permissions,
  rootPath,
  size,
  socketPath,
} from './config-values.js';

interface SettingNotes {
  readonly description: string;
  /** The default as written in the file; undefined if there is none. */
  readonly fallback?: unknown;
  /** Shown commented out if there is no default. */
  readonly example?: unknown;
}

const notes = z.registry<SettingNotes>();

/** A setting with a default. */
function setting<Schema extends z.ZodType>(
  schema: Schema,
  fallback: z.input<Schema>,
  description: string,
): Schema {
  notes.add(schema, { description, fallback });
  return schema;
}

/** A setting without a default. */
function optionalSetting<Schema extends z.ZodType>(
  schema: Schema,
  example: z.input<Schema>,
  description: string,
): z.ZodOptional<Schema> {
  const optional = schema.optional();
  notes.add(optional, { description, example });
  return optional;
}

function group<Shape extends z.core.$ZodLooseShape>(
  description: string,
  shape: Shape,
): z.ZodObject<Shape, z.core.$strict> {
  const schema = z.strictObject(shape);
  notes.add(schema, { description });
  return schema;
}

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'panic'] as const;

/** Overlay options that the snapshotter sets itself. */
const ownMountOptions =
  /^(upperdir|lowerdir\+?|datadir\+?|workdir|ro|rw|rbind|bind|uidmap|gidmap)(=|$)/;

/** A single non-empty option without a comma. */
const oneMountOption = /^[^,\s=]+(=[^,\n]*)?$/;

export const configSchema = z.strictObject({
  root: setting(
    rootPath(),
    '/var/lib/stratalog',
    'Directory of the log and the layers. Each root has one daemon. Network file systems are not supported.',
  ),
  address: setting(
    socketPath(),
    defaultAddress,
    "Path of the unix socket to serve, as in containerd's proxy_plugins entry.",
  ),
  layer_store: setting(
    optionalPath(),
    '',
    'Directory of unpacked layers or EROFS and squashfs images, named by chain ID. Layers found there are not pulled. "" for none.',
  ),
  async_remove: setting(
    z.boolean(),
    false,
    'Delete the directories of removed snapshots when containerd calls Cleanup after a garbage collection. If false, they are deleted in the background immediately.',
  ),
  durability: setting(
    z.enum(['data', 'metadata']),
    'data',
    '"data": sync a layer\'s files to disk before acknowledging its commit. "metadata": sync only the log; after a power failure committed layers may contain empty files, as with overlayfs.',
  ),
  preallocated_directories: setting(
    z.int().min(0).max(1024),
    32,
    'Number of empty snapshot directories to create in advance, so that Prepare does not wait for one. They are in snapshots/ and are deleted at shutdown. 0 for none.',
  ),
  mount_options: setting(
    z.array(
      z
        .string()
        .regex(oneMountOption, 'expected one option, such as "xino=off", without a comma')
        .refine((option) => !ownMountOptions.test(option), {
          error: 'the snapshotter sets this option itself',
        }),
    ),
    [],
    'Options to add to every overlay mount, for example ["xino=off"].',
  ),
  upperdir_label: setting(
    z.boolean(),
    false,
    'Add the label containerd.io/snapshot/overlay.upperdir with the path of the upper directory to each active snapshot.',
  ),
  remap_ids: setting(
    z.union([z.boolean(), z.literal('auto')], { error: 'expected true, false or "auto"' }),
    'auto',
    'Mount layers with mapped ids for containers in user namespaces. "auto" does so if the kernel and the file system of the root support it (Linux 5.19 and later). Without it such containers are refused, unless containerd has made a chowned copy of the image. See "stratalog config containerd".',
  ),
  expect_existing: setting(
    z.boolean(),
    false,
    'Refuse to start on a root without a log. Set it after the first startup, so that a disk that is not mounted is an error instead of a new, empty log.',
  ),
  accept_moved_root: setting(
    z.boolean(),
    false,
    'Accept a root that is on a different file system than before, and record the new one. Set it for one startup after moving, copying or restoring a root. In other cases a refusal means that the wrong disk, or none, is mounted. Not needed for device numbers that change with a reboot.',
  ),
  audit: setting(
    z.boolean(),
    true,
    'Serve stratalog.audit.v1 on the socket. It gives every client of the socket read-only access to the event log.',
  ),
  metrics_address: setting(
    httpAddress(),
    '',
    'Serve Prometheus metrics at /metrics on this "host:port" or unix socket path. "" to disable.',
  ),
  debug_address: setting(
    optionalSocketPath(),
    '',
    'Serve /debug/profile, /debug/heap, /debug/loop, /debug/actors and /debug/vars on this unix socket path. Every client of that socket can read the memory of the daemon. "" to disable.',
  ),
  drain_timeout: setting(
    duration('0s', '1h'),
    '10s',
    'How long calls in flight may continue after SIGTERM. Must be shorter than TimeoutStopSec of the unit.',
  ),
  socket: group('The socket file. Ignored when systemd passes the socket.', {
    mode: setting(
      permissions(),
      '0600',
      'Permission bits, in quotes. Write access to the socket is equivalent to root on this host.',
    ),
    uid: optionalSetting(z.int().min(0).max(0xfffffffe), 0, "Owner; by default the daemon's user."),
    gid: optionalSetting(
      z.int().min(0).max(0xfffffffe),
      0,
      "Group; by default the daemon's group.",
    ),
  }),
  log: group("The daemon's messages on stderr. The event log is configured in log_store.", {
    level: setting(
      z.enum(logLevels, { error: `expected one of ${logLevels.join(', ')}` }),
      'info',
      'trace, debug, info, warn, error, fatal or panic.',
    ),
    format: setting(
      z.enum(['auto', 'json', 'text']),
      'auto',
      '"json", "text", or "auto": text on a terminal, JSON elsewhere.',
    ),
  }),
  limits: group('Limits on the work of the daemon.', {
    connections: setting(z.int().min(1).max(65_536), 256, 'Maximum number of connections.'),
    concurrent_calls: setting(
      z.int().min(1).max(65_536),
      1024,
      'Maximum number of concurrent calls on one connection. Further calls wait in the client.',
    ),
    audit_calls: setting(
      z.int().min(1).max(4096),
      64,
      'Maximum number of concurrent streams of the audit service, and of concurrent unary calls. One client process gets at most a quarter of each. Calls over the limit are refused.',
    ),
    descriptors_reserve: setting(
      z.int().min(16).max(1_000_000),
      256,
      'The daemon reports itself unhealthy when fewer file descriptors than this are free.',
    ),
    loop_delay: setting(
      duration('50ms', '1m'),
      '2s',
      'The daemon reports itself unhealthy when its event loop is delayed by this much.',
    ),
    budgets: group(
      'How long a call may take before it fails. containerd sets no deadline and holds locks while it waits.',
      {
        prepare: setting(duration('100ms', '1h'), '45s', 'Prepare and View.'),
        mounts: setting(duration('100ms', '1h'), '15s', 'Mounts.'),
        commit: setting(
          duration('100ms', '1h'),
          '2m',
          "Commit. It runs inside containerd's write transaction and waits for data to be synced to disk.",
        ),
        read: setting(
          duration('100ms', '1h'),
          '10s',
          'Stat, List, Usage, Update, Remove and Cleanup. Their only disk access is to the log.',
        ),
        audit: setting(
          duration('100ms', '1h'),
          '1m',
          'Unary calls of the audit service, and the replay of StateAt. Streams are not limited.',
        ),
      },
    ),
  }),
  log_store: group('The event log.', {
    segment_size: setting(
      size('1MiB', '1GiB'),
      '16MiB',
      'Size of a segment of the log. Each is allocated in full when it is created.',
    ),
    checkpoint_every_events: setting(
      z.int().min(100).max(10_000_000),
      10_000,
      'Number of events between checkpoints. Startup replays the events after the newest one, so a smaller number makes startup faster and writes checkpoints more often.',
    ),
    history_checkpoint_every_events: setting(
      z.int().min(0).max(1_000_000_000),
      250_000,
      'Keep one older checkpoint for this number of events, so that the state at any point in the past is found quickly. These checkpoints use at most a quarter of the bytes of the log. 0 keeps only the newest two.',
    ),
    retain: setting(
      z.union([z.literal('forever').transform(() => null), duration('1h', '36500d')], {
        error: 'expected "forever" or a duration such as "90d"',
      }),
      'forever',
      'How long to keep history: "forever" or a duration such as "90d". Only whole segments before a checkpoint are deleted; the rest still verifies.',
    ),
  }),
  effects: group('Time limits of side effects.', {
    directories_timeout: setting(
      duration('100ms', '1h'),
      '10s',
      "Creating a snapshot's directories.",
    ),
    mount_timeout: setting(
      duration('100ms', '1h'),
      '30s',
      'Mounting a remote layer in Prepare. After that, containerd pulls the layer.',
    ),
    check_timeout: setting(
      duration('10ms', '1h'),
      '5s',
      'Checking a remote layer before it is used.',
    ),
    restore_timeout: setting(
      duration('100ms', '1h'),
      '30s',
      'Mounting a remote layer again after a restart or a failed check.',
    ),
    unmount_timeout: setting(duration('100ms', '1h'), '30s', 'Unmounting a remote layer.'),
    flush_timeout: setting(
      duration('100ms', '24h'),
      '5m',
      "Syncing a layer's data to disk before its commit.",
    ),
    usage_timeout: setting(
      duration('100ms', '24h'),
      '1m',
      'Measuring the disk usage of a snapshot.',
    ),
    remove_timeout: setting(
      duration('1s', '24h'),
      '10m',
      "Deleting a removed snapshot's directory.",
    ),
  }),
});

/** A setting or the heading of a group. */
export type ConfigEntry =
  | {
      readonly kind: 'setting';
      readonly path: readonly string[];
      readonly description: string;
      /** As written in the file; undefined if there is none. */
      readonly fallback: unknown;
      readonly example: unknown;
      /** The values of an enum; empty for other types. */
      readonly choices: readonly string[];
    }
  | { readonly kind: 'group'; readonly path: readonly string[]; readonly description: string };

/** All entries. The settings of a group come before its sub-groups, as TOML requires. */
export function configEntries(): readonly ConfigEntry[] {
  return entriesOf(configSchema, []);
}

function entriesOf(schema: z.ZodObject, prefix: readonly string[]): ConfigEntry[] {
  const settings: ConfigEntry[] = [];
  const groups: ConfigEntry[] = [];
  for (const [key, member] of Object.entries(schema.shape)) {
    const path = [...prefix, key];
    const found = member instanceof z.ZodType ? notes.get(member) : undefined;
    const description = found?.description ?? '';
    if (member instanceof z.ZodObject) {
      groups.push({ kind: 'group', path, description }, ...entriesOf(member, path));
    } else {
      const { fallback, example } = found ?? {};
      const choices = member instanceof z.ZodEnum ? member.options.map(String) : [];
      settings.push({ kind: 'setting', path, description, fallback, example, choices });
    }
  }
  return [...settings, ...groups];
}

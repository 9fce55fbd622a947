/**
 * Every setting there is: its type, its default and what it means. The sample file, the checks and
 * the typed configuration are all made from this one table, so they cannot drift apart.
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

/** What is known of a setting besides its type. */
interface SettingNotes {
  readonly description: string;
  /** As it would be written in the file; undefined for a setting that is off until written. */
  readonly fallback?: unknown;
  /** Shown, commented out, where there is no default. */
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

/** A setting that may be absent. */
function mayBe<Schema extends z.ZodType>(
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

/** Overlay options that the snapshotter itself decides. */
const ownMountOptions =
  /^(upperdir|lowerdir\+?|datadir\+?|workdir|ro|rw|rbind|bind|uidmap|gidmap)(=|$)/;

/** One option, as an element of a list is one argument to the mount: no comma, nothing empty. */
const oneMountOption = /^[^,\s=]+(=[^,\n]*)?$/;

export const configSchema = z.strictObject({
  root: setting(
    rootPath(),
    '/var/lib/stratalog',
    'Where the log and the layers live. One daemon for each root; never on a network file system.',
  ),
  address: setting(
    socketPath(),
    defaultAddress,
    "The unix socket that containerd's proxy_plugins entry names.",
  ),
  layer_store: setting(
    optionalPath(),
    '',
    'A directory of unpacked layers or EROFS and squashfs images, found by chain id: layers found there are not pulled. "" for none.',
  ),
  async_remove: setting(
    z.boolean(),
    false,
    "Leave the directories of removed snapshots to containerd's Cleanup, which follows each garbage collection. When false they are deleted in the background at once.",
  ),
  durability: setting(
    z.enum(['data', 'metadata']),
    'data',
    '"data": a layer\'s files are on disk before its commit is acknowledged. "metadata": only the log is; after a power cut committed layers may hold empty files, as with overlayfs.',
  ),
  preallocated_directories: setting(
    z.int().min(0).max(1024),
    32,
    'How many empty snapshot directories are made ahead, so that Prepare need not wait for its own. They stand in snapshots/ and go at an orderly stop. 0 for none.',
  ),
  mount_options: setting(
    z.array(
      z
        .string()
        .regex(oneMountOption, 'expected one option, such as "xino=off", without a comma')
        .refine((option) => !ownMountOptions.test(option), {
          error: 'this option is decided by the snapshotter and cannot be set',
        }),
    ),
    [],
    'Options added to every overlay mount, for example ["xino=off"].',
  ),
  upperdir_label: setting(
    z.boolean(),
    false,
    'Show the label containerd.io/snapshot/overlay.upperdir, with the path of the upper directory, on each active snapshot.',
  ),
  remap_ids: setting(
    z.union([z.boolean(), z.literal('auto')], { error: 'expected true, false or "auto"' }),
    'auto',
    'Mount layers with mapped ids for containers in user namespaces. "auto" does so when the kernel and the file system of the root can (Linux 5.19 and later); with false, or where they cannot, such containers are refused, unless containerd has made a chowned copy of the image. See "stratalog config containerd".',
  ),
  expect_existing: setting(
    z.boolean(),
    false,
    'Refuse to start on a root without a log. Set it once the first start is done: a disk that is not mounted is then an error, not a new, empty log.',
  ),
  accept_moved_root: setting(
    z.boolean(),
    false,
    'Accept a root on another file system than before, and record the new one. For one start after a root was moved, copied or restored; otherwise a refusal means that the wrong disk is mounted, or none. Device numbers that change with a reboot do not need it.',
  ),
  audit: setting(
    z.boolean(),
    true,
    'Serve stratalog.audit.v1 on the socket: whoever may use the socket can read the log of events and follow it. It only reads.',
  ),
  metrics_address: setting(
    httpAddress(),
    '',
    'Serve Prometheus metrics at /metrics on this "host:port" or unix socket path. "" for off.',
  ),
  debug_address: setting(
    optionalSocketPath(),
    '',
    'Serve /debug/profile, /debug/heap, /debug/loop, /debug/actors and /debug/vars on this unix socket path. Whoever reaches it can read the memory of the daemon. "" for off.',
  ),
  drain_timeout: setting(
    duration('0s', '1h'),
    '10s',
    'How long calls in flight may go on after SIGTERM. Keep it below TimeoutStopSec of the unit.',
  ),
  socket: group('The socket file. Ignored when systemd passes the socket.', {
    mode: setting(
      permissions(),
      '0600',
      'Permission bits, in quotes. Whoever may write to the socket is root on this machine.',
    ),
    uid: mayBe(z.int().min(0).max(0xfffffffe), 0, "Owner; the daemon's own when absent."),
    gid: mayBe(z.int().min(0).max(0xfffffffe), 0, "Group; the daemon's own when absent."),
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
  limits: group('What bounds the work of the daemon.', {
    connections: setting(z.int().min(1).max(65_536), 256, 'Connections at one time.'),
    concurrent_calls: setting(
      z.int().min(1).max(65_536),
      1024,
      'Calls at one time on one connection; more wait in the client.',
    ),
    audit_calls: setting(
      z.int().min(1).max(4096),
      64,
      'Streams, and as many single questions, that the audit service answers at one time, a quarter of them for one client process; one too many is refused.',
    ),
    descriptors_reserve: setting(
      z.int().min(16).max(1_000_000),
      256,
      'The daemon says it is unhealthy when fewer file descriptors than this are left to it.',
    ),
    loop_delay: setting(
      duration('50ms', '1m'),
      '2s',
      'The daemon says it is unhealthy when its event loop is this late.',
    ),
    budgets: group(
      'How long a call may take before it is answered with an error. containerd sets no deadline, and holds locks while it waits.',
      {
        prepare: setting(duration('100ms', '1h'), '45s', 'Prepare and View.'),
        mounts: setting(duration('100ms', '1h'), '15s', 'Mounts.'),
        commit: setting(
          duration('100ms', '1h'),
          '2m',
          "Commit. It runs inside containerd's write transaction, and waits for data to reach the disk.",
        ),
        read: setting(
          duration('100ms', '1h'),
          '10s',
          'Stat, List, Usage, Update, Remove and Cleanup: none waits for a disk other than for the log.',
        ),
        audit: setting(
          duration('100ms', '1h'),
          '1m',
          'A question to the audit service, and the replay behind StateAt. Its streams take the time that their readers take.',
        ),
      },
    ),
  }),
  log_store: group('The event log.', {
    segment_size: setting(
      size('1MiB', '1GiB'),
      '16MiB',
      'Size of one log file. Each is allocated in full when it is begun.',
    ),
    checkpoint_every_events: setting(
      z.int().min(100).max(10_000_000),
      10_000,
      'A start replays the events after the newest checkpoint: fewer are faster to replay, and checkpoints are written more often.',
    ),
    history_checkpoint_every_events: setting(
      z.int().min(0).max(1_000_000_000),
      250_000,
      'Older checkpoints are kept too, one for so many events, so that the state at any moment of the past is found at once. They never take more than a quarter of the bytes of the log. 0 keeps the newest two only.',
    ),
    retain: setting(
      z.union([z.literal('forever').transform(() => null), duration('1h', '36500d')], {
        error: 'expected "forever" or a duration such as "90d"',
      }),
      'forever',
      'How long history is kept: "forever", or a duration such as "90d". Only whole files below a checkpoint are dropped; what is left still verifies.',
    ),
  }),
  effects: group('Time limits of the work behind the calls.', {
    directories_timeout: setting(
      duration('100ms', '1h'),
      '10s',
      "Making a snapshot's directories.",
    ),
    mount_timeout: setting(
      duration('100ms', '1h'),
      '30s',
      'Mounting a remote layer on Prepare; then containerd pulls it as usual.',
    ),
    check_timeout: setting(
      duration('10ms', '1h'),
      '5s',
      'Checking a remote layer before it is used.',
    ),
    restore_timeout: setting(
      duration('100ms', '1h'),
      '30s',
      'Mounting a remote layer again after a restart, or when a check has failed.',
    ),
    unmount_timeout: setting(duration('100ms', '1h'), '30s', 'Taking a remote layer away.'),
    flush_timeout: setting(
      duration('100ms', '24h'),
      '5m',
      "Writing a layer's data to disk before its commit.",
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

/** One line of the configuration: a setting or the heading of a group. */
export type ConfigEntry =
  | {
      readonly kind: 'setting';
      readonly path: readonly string[];
      readonly description: string;
      /** As written in the file; undefined when there is no default. */
      readonly fallback: unknown;
      readonly example: unknown;
      /** The only values that may stand there; empty when others may too. */
      readonly choices: readonly string[];
    }
  | { readonly kind: 'group'; readonly path: readonly string[]; readonly description: string };

/** All entries, the settings of a group before its sub-groups, as TOML needs them. */
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

// The arrows of docs/tour.md, held by `npm run lint`. `import type` counts as an arrow too.
// Pinned to the 17 line: 18 needs Node 22, and this package supports Node 20.

/** Folders that may import only the folders named, besides packages and themselves. */
const mayImport = {
  base: [],
  host: ['base'],
  log: ['base'],
  machines: ['base'],
  // Tar archives: bytes in, entries out, and back.
  tar: ['base'],
  filesystems: ['base', 'host', 'tar'],
  effects: ['base', 'machines', 'filesystems/contract'],
  inspect: ['base', 'log', 'machines'],
  // A log as a portable file, and a root made of such a file.
  export: ['base', 'log', 'machines', 'inspect', 'tar'],
  repair: ['base', 'log', 'machines', 'inspect', 'maintenance'],
  // Writes to a root that no daemon holds; inspect decides what has to be done.
  maintenance: ['base', 'log', 'machines', 'inspect', 'export'],
  // The page: reads an archive, local or remote.
  ui: ['base', 'log', 'machines', 'inspect'],
  snapshotter: ['base', 'log', 'machines', 'effects', 'inspect', 'filesystems/contract'],
  // The three places that assemble a program hand the operating system to the other folders.
  api: ['base', 'log', 'machines', 'effects', 'inspect', 'snapshotter', 'filesystems', 'host'],
  daemon: [
    'base',
    'log',
    'machines',
    'effects',
    'inspect',
    'snapshotter',
    'filesystems',
    'host',
    'api',
  ],
  cli: [
    'base',
    'log',
    'machines',
    'inspect',
    'export',
    'repair',
    'maintenance',
    'tar',
    'ui',
    'snapshotter',
    'filesystems',
    'host',
    'api',
    'daemon',
  ],
};

/** The same within a folder: sub-folders may import only the siblings named, and the files on top. */
const siblings = {
  log: {
    format: [],
    root: ['format'],
    checkpoint: ['format'],
    read: ['format', 'root', 'checkpoint'],
    write: ['format', 'root', 'read'],
    index: ['format', 'root', 'read'],
    verify: ['format', 'root', 'checkpoint', 'read', 'index'],
    housekeeping: ['format', 'checkpoint', 'read', 'index'],
  },
  machines: { events: [], snapshots: ['events'] },
  host: {
    threads: [],
    files: ['threads', 'mounts'],
    mounts: ['threads'],
    process: ['threads', 'mounts'],
  },
  inspect: {
    events: [],
    archive: ['events'],
    startup: ['events', 'archive'],
    chart: ['archive', 'events'],
    snapshot: ['archive', 'events', 'startup'],
    containerd: [],
  },
  snapshotter: { filter: [], clients: [], clock: [], startup: ['clients', 'clock'] },
  api: { grpc: [], root: [], snapshots: ['grpc'], audit: ['grpc'] },
  daemon: { config: [], observe: ['config'] },
  cli: {
    terminal: [],
    args: ['terminal'],
    layers: ['args', 'terminal'],
    evidence: ['args', 'terminal', 'root'],
    past: ['args', 'terminal', 'evidence', 'root'],
    root: ['args', 'terminal'],
    run: ['args', 'terminal', 'root', 'evidence'],
    launch: [],
  },
};

const arrows = Object.entries(mayImport).map(([folder, others]) => ({
  name: `${folder}-imports`,
  comment: `src/${folder} may import ${others.join(', ') || 'nothing of ours'}.`,
  severity: 'error',
  from: { path: `^src/${folder}/` },
  to: { path: '^src/', pathNot: `^src/(${[folder, ...others].join('|')})[/.]` },
}));

const innerArrows = Object.entries(siblings).flatMap(([folder, parts]) =>
  Object.entries(parts).map(([part, others]) => ({
    name: `${folder}-${part}-imports`,
    comment: `src/${folder}/${part} may import ${others.join(', ') || 'no sibling folder'}.`,
    severity: 'error',
    from: { path: `^src/${folder}/${part}/` },
    to: {
      path: `^src/${folder}/(${Object.keys(parts).join('|')})/`,
      pathNot: `^src/${folder}/(${[part, ...others].join('|')})/`,
    },
  })),
);

module.exports = {
  forbidden: [
    ...arrows,
    ...innerArrows,
    {
      name: 'no-cycles',
      comment: 'A cycle hides which of two files is the lower one.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'looking-never-writes',
      comment: 'What is decided or exported from a log is read without a lock and changes nothing.',
      severity: 'error',
      from: { path: '^src/(inspect|repair/plan|export/[^/]+\\.ts)' },
      to: {
        path: '^src/(log/(write|housekeeping)/|maintenance/|repair/[^/]+\\.ts|export/import/)',
      },
    },
    {
      name: 'pure-core',
      comment: 'Decisions and shared words must run without an operating system.',
      severity: 'error',
      from: { path: '^src/(base|machines)/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'native-calls',
      comment: 'Only host knows how the operating system is called.',
      severity: 'error',
      from: { pathNot: '^src/host/' },
      to: { path: 'node_modules/(koffi|fs-ext)/' },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, pathNot: '\\.d\\.ts$|^src/cli\\.ts$' },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'] },
  },
};

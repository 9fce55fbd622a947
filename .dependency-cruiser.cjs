// The arrows of docs/tour.md, held by `npm run lint`. `import type` counts as an arrow too.
// Pinned to the 17 line: 18 needs Node 22, and this package supports Node 20.

/** Folders that may import only the folders named, besides packages and themselves. */
const mayImport = {
  base: [],
  // The start of the built command, before anything else of it is there.
  launch: [],
  host: ['base'],
  log: ['base'],
  machines: ['base'],
  // Tar archives: bytes in, entries out, and back.
  tar: ['base'],
  filesystems: ['base', 'host', 'tar'],
  effects: ['base', 'machines', 'filesystems/contract'],
  inspect: ['base', 'log', 'machines', 'tar'],
  // Writes to a root that no daemon holds; what it finds out first, it asks of inspect.
  maintenance: ['base', 'log', 'machines', 'inspect'],
  // The page: reads an archive, wherever it is.
  ui: ['base', 'log', 'machines', 'inspect'],
  snapshotter: ['base', 'log', 'machines', 'effects', 'inspect', 'filesystems/contract'],
  // The two places that assemble the program hand the operating system to everybody else.
  api: ['base', 'log', 'machines', 'effects', 'inspect', 'snapshotter', 'filesystems', 'host'],
  cli: [
    'base',
    'log',
    'machines',
    'inspect',
    'maintenance',
    'tar',
    'ui',
    'snapshotter',
    'filesystems',
    'host',
    'api',
  ],
};

const arrows = Object.entries(mayImport).map(([folder, others]) => ({
  name: `${folder}-imports`,
  comment: `src/${folder} may import ${others.join(', ') || 'nothing of ours'}.`,
  severity: 'error',
  from: { path: `^src/${folder}/` },
  to: { path: '^src/', pathNot: `^src/(${[folder, ...others].join('|')})[/.]` },
}));

module.exports = {
  forbidden: [
    ...arrows,
    {
      name: 'no-cycles',
      comment: 'A cycle hides which of two files is the lower one.',
      severity: 'error',
      from: {},
      to: { circular: true },
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

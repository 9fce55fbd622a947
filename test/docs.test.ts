/**
 * Goal: what the pages say exists. Method: names are taken out of the pages (files, links,
 * commands, flags, settings, metrics, exit codes, messages) and looked up where they are made.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { configEntries } from '../src/daemon/config/config-schema.js';
import { Metrics } from '../src/daemon/observe/metrics.js';
import { defaultCommandOf } from '../src/cli/args/command-shape.js';
import { EXIT } from '../src/cli/exit-codes.js';
import { buildProgram } from '../src/cli/main.js';

const repository = resolve(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(repository, path), 'utf8');
const decisions = readdirSync(join(repository, 'docs/decisions')).sort();
const documents = readdirSync(join(repository, 'docs')).filter((name) => name.endsWith('.md'));
const pages = [
  'README.md',
  'CHANGELOG.md',
  ...documents.map((name) => `docs/${name}`),
  ...decisions.map((name) => `docs/decisions/${name}`),
];

const withoutBlocks = (text: string): string => text.replace(/^```[\s\S]*?^```$/gm, '');

/** What stands in backticks, outside of blocks. */
const codeIn = (text: string): string[] =>
  [...withoutBlocks(text).matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);

/** Lines of the blocks; of a session with a terminal, what was typed. */
const typedIn = (text: string): string[] =>
  [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].flatMap(([, language, block = '']) =>
    block.split('\n').filter((line) => language !== 'console' || /^[$#] /.test(line)),
  );

/** Lines of the blocks. */
const blockLinesIn = (text: string): string[] =>
  [...text.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].flatMap(([, block = '']) => block.split('\n'));

/** Rows of a section's tables, as cells. */
function rowsIn(text: string, heading: string): string[][] {
  const from = text.indexOf(`\n${heading}\n`);
  expect(from, `the heading ${heading}`).toBeGreaterThan(-1);
  const [section = ''] = text.slice(from + heading.length + 2).split(/^#{1,3} /m);
  const rows = section.split('\n').filter((line) => line.startsWith('| '));
  return rows.map((line) =>
    line
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.trim()),
  );
}

const allSources = (): string => {
  const names = readdirSync(join(repository, 'src'), { recursive: true, encoding: 'utf8' });
  return names
    .filter((name) => name.endsWith('.ts'))
    .map((name) => read(join('src', name)))
    .join('\n');
};

/** A message with its variable parts left out as `…`. */
const isWritten = (message: string, sources: string): boolean =>
  message.split('…').every((piece) => sources.includes(piece.trim()));

/** As a page's heading becomes the anchor of a link. */
const anchorsOf = (text: string): string[] =>
  [...withoutBlocks(text).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

describe.each(pages)('%s', (page) => {
  const text = read(page);

  it('has one title', () => {
    expect(withoutBlocks(text).match(/^# /gm)).toHaveLength(1);
  });

  it('links to what is there', () => {
    const links = [...withoutBlocks(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, to = '']) => to);
    for (const link of links.filter((to) => !/^https?:/.test(to))) {
      const [path = '', anchor] = link.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      expect(existsSync(join(repository, file)), `${page} links to ${link}`).toBe(true);
      if (anchor !== undefined) expect(anchorsOf(read(file)), link).toContain(anchor);
    }
  });

  it('names files that are there', () => {
    const paths = codeIn(text).filter((code) =>
      /^(src|test|scripts|packaging|docs|examples|proto)\/[\w./-]*$|^\.dependency-cruiser\.cjs$/.test(
        code,
      ),
    );
    const missing = paths.filter((path) => !existsSync(join(repository, path)));
    expect(missing).toEqual([]);
  });

  it('names npm scripts that are there', () => {
    const scripts: unknown = JSON.parse(read('package.json'));
    const named = [...text.matchAll(/\bnpm (?:run (?:--silent )?([\w:]+)|(test)\b)/g)];
    for (const [, script, test] of named) {
      expect(scripts).toHaveProperty(['scripts', script ?? test ?? '']);
    }
  });
});

describe('the tour', () => {
  const tour = read('docs/tour.md');

  it('has ten stops, each with a file', () => {
    const stops = [...tour.matchAll(/^\*\*(\d+)\. `(src\/[^`]+)`/gm)];
    expect(stops.map(([, number]) => Number(number))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('names code where it says it is', () => {
    const places = [...tour.matchAll(/`([^`/]+)`\s+in\s+`(src\/[^`]+)`/g)];
    expect(places.length).toBeGreaterThan(0);
    for (const [, name = '', file = ''] of places) expect(read(file), file).toContain(name);
  });

  it('shows the arrows that the lint rules hold', () => {
    const rules = read('.dependency-cruiser.cjs');
    const allowed = (folder: string): string[] => {
      const [, list = ''] = new RegExp(`^  ${folder}: \\[([^\\]]*)\\],$`, 'm').exec(rules) ?? [];
      return [...list.matchAll(/'([^']+)'/g)].map(([, name = '']) => name);
    };
    const named = (to: string): string[] =>
      to.split(',').flatMap((part) => {
        const [, top, below] = /^ *([\w*]+)( and below)?/.exec(part) ?? [];
        if (top === '*') return ['filesystems/contract'];
        return below === undefined ? [top ?? ''] : [top ?? '', ...allowed(top ?? '')];
      });
    const arrows = [...tour.matchAll(/^(\w+) +-> ([a-z, *]+?)(?: {2,}|$)/gm)];
    const listed = arrows.filter(([, , to = '']) => !to.startsWith('all'));
    expect(listed).toHaveLength(14);
    for (const [, from = '', to = ''] of listed) {
      const written = new Set(named(to));
      expect([...written].sort(), from).toEqual([...new Set(allowed(from))].sort());
    }
  });
});

describe('decisions', () => {
  it.each(decisions)('%s has its four parts', (name) => {
    const text = read(`docs/decisions/${name}`);
    expect(text).toMatch(new RegExp(`^# ${Number(name.slice(0, 4))}\\. `));
    const parts = [...text.matchAll(/^\*\*([^*]+)\.\*\*/gm)].map(([, part]) => part);
    expect(parts).toEqual(
      expect.arrayContaining(['Context', 'Decision', 'Consequences', 'What would change our mind']),
    );
  });

  it('name only what the code or containerd names', () => {
    const sources = allSources();
    // Calls and codes of containerd's contract that the code writes in another form.
    const others = ['Internal', 'CommitActive', 'SnapshotError'];
    for (const name of decisions) {
      const names = codeIn(read(`docs/decisions/${name}`)).filter((code) =>
        /^[A-Z][a-z]+[A-Z]\w+$/.test(code),
      );
      const unknown = names.filter((found) => !sources.includes(found) && !others.includes(found));
      expect(unknown, name).toEqual([]);
    }
  });

  it('all stand in the index, under their titles', () => {
    const index = read('docs/README.md');
    for (const name of decisions) {
      const [title = ''] = read(`docs/decisions/${name}`).split('\n');
      const [, number = '', words = ''] = /^# (\d+)\. (.*)$/.exec(title) ?? [];
      expect(index).toContain(`\n${number}. [${words}](decisions/${name})\n`);
    }
    for (const name of documents.filter((page) => page !== 'README.md')) {
      expect(index, name).toContain(`](${name})`);
    }
  });
});

describe('commands', async () => {
  const { commands } = await buildProgram();

  /** The command that the words begin with, and the words behind it. */
  function find(words: readonly string[]): { command: Command; rest: readonly string[] } | null {
    const [first, second, ...others] = words;
    const command = commands.find((known) => known.name() === first);
    if (command === undefined) return null;
    if (command.commands.length === 0) return { command, rest: words.slice(1) };
    const child = command.commands.find((known) =>
      [known.name(), ...known.aliases()].includes(second ?? ''),
    );
    if (child !== undefined) return { command: child, rest: others };
    const meant = defaultCommandOf(command);
    return meant === undefined ? null : { command: meant, rest: words.slice(1) };
  }

  /** `stratalog layer` alone stands for its sub-commands. */
  const isGroup =
    (name: string | undefined) =>
    (command: Command): boolean =>
      command.name() === name && command.commands.length > 0;

  const used = pages.flatMap((page) => {
    const text = read(page);
    const inText = codeIn(text).map((code) => code.replaceAll(/\s+/g, ' '));
    return [...inText, ...typedIn(text)]
      .map((line) => line.replace(/^[$#] /, ''))
      .filter((line) => line.startsWith('stratalog '))
      .map((line) => ({ page, line }));
  });

  it.each(used)('$page: $line', ({ line }) => {
    // What stands behind `--` is another program's.
    const words = (line.split(/ [#>|]| &&| -- /)[0] ?? '').split(' ').slice(1);
    // A name with its number is a release: `stratalog 0.1.0`.
    if (/^\d/.test(words[0] ?? '')) return;
    if (words.length === 1 && commands.some(isGroup(words[0]))) return;
    const found = find(words);
    expect(found, 'the command').not.toBeNull();
    const flags = found?.rest.filter((word) => /^--?[a-z]/.test(word)) ?? [];
    const known = found?.command.options.flatMap(({ long, short }) => [long, short]) ?? [];
    expect(known).toEqual(expect.arrayContaining(flags));
  });

  it('are all in the README, with every flag of serve', () => {
    const readme = read('README.md');
    for (const command of commands) expect(readme).toContain(`\`stratalog ${command.name()}`);
    const flags = rowsIn(readme, '## Use it with containerd').map(([flag = '']) => flag);
    for (const { long } of find(['serve'])?.command.options ?? []) {
      expect(flags.join(' '), 'flags of serve').toContain(long ?? '');
    }
  });

  it('exit with the codes that operations.md explains', () => {
    const rows = rowsIn(read('docs/operations.md'), '## Signals and exit codes');
    const codes = rows.map(([code]) => code).filter((code) => /^\d+$/.test(code ?? ''));
    expect(codes.map(Number)).toEqual(Object.values(EXIT).sort((a, b) => a - b));
  });
});

describe('settings', () => {
  const known = new Set(configEntries().map(({ path }) => path.join('.')));
  /** containerd's own, and names of other things. */
  const others =
    /^(enable_remote_snapshot_annotations|disable_snapshot_annotations|unpack_config|proxy_plugins|exports|discard_unpacked_layers|runtime_platforms|schedule_delay|pause_threshold|stratalog_.*|st_dev|process_\*|nodejs_\*|index=off)$/;

  it.each(pages.filter((page) => page !== 'docs/reference/settings.md'))(
    'named in %s are there',
    (page) => {
      const groups = [...known].flatMap((path) => path.split('.').slice(0, -1));
      const names = codeIn(read(page))
        .map((code) => code.replace(/ = .*$/, '').replace(/\.\*$/, ''))
        .filter((code) => /^[a-z]+(_[a-z]+)+$/.test(code) || isDotted(code, groups))
        .filter((code) => !others.test(code));
      const unknown = names.filter((name) => !known.has(name));
      expect(unknown).toEqual([]);
    },
  );

  function isDotted(code: string, groups: readonly string[]): boolean {
    return /^[a-z_]+(\.[a-z_]+)+$/.test(code) && groups.includes(code.split('.')[0] ?? '');
  }
});

describe('operations.md', () => {
  const operations = read('docs/operations.md');

  it('explains every metric and no other', async () => {
    const metrics = new Metrics({ version: '', processMetrics: false });
    metrics.readFrom({
      logPosition: () => 0,
      logBytes: () => 0,
      checkpointAgeSeconds: () => 0,
      snapshots: () => [],
      layersUnavailable: () => 0,
      directoryProblems: () => ({ setAside: 0, failing: 0 }),
      connections: () => 0,
      callsInFlight: () => 0,
      auditStreams: () => 0,
      clientFaults: () => ({}),
      serving: () => ({}),
    });
    const made = [...(await metrics.text()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    const cells = rowsIn(operations, '### Metrics').map(([cell = '']) => cell);
    const told = cells.flatMap((cell) => codeIn(cell).map((code) => code.replace(/\{(.*)\}$/, '')));
    expect(told.sort()).toEqual(made.sort());
  });

  it('shows messages as the code writes them', () => {
    const sources = allSources();
    const cells = rowsIn(operations, '### Messages').map(([cell = '']) => cell);
    const messages = cells.flatMap(codeIn);
    expect(messages.length).toBeGreaterThan(5);
    expect(messages.filter((message) => !isWritten(message, sources))).toEqual([]);
  });

  it('shows errors as the code writes them', () => {
    const sources = allSources().replaceAll(/' \+\s+['`]|` \+\s+['`]/g, '');
    const messages = rowsIn(operations, '## Troubleshooting')
      .flatMap(([cell = '']) => codeIn(cell))
      .filter((code) => code.includes(' '))
      // containerd's own.
      .filter((code) => !/^(failed to find|connection refused|no unpack)/.test(code));
    expect(messages.length).toBeGreaterThan(5);
    expect(messages.filter((message) => !isWritten(message, sources))).toEqual([]);
  });
});

describe('the transcript in the README', () => {
  it('is of the demo as it is', () => {
    const demo = read('scripts/demo.ts');
    const lines = blockLinesIn(read('README.md'));
    const titles = lines.flatMap((line) => {
      const [, title] = /^ ?\d+ {2}ok {2}(.{28})/.exec(line) ?? [];
      return title === undefined ? [] : [title.trim()];
    });
    const steps = [...demo.matchAll(/await step\('([^']+)'/g)].map(([, title]) => title);
    expect(titles).toEqual(steps);
  });
});

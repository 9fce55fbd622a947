/** packaging/stratalog.1: the man page, from the same tree as the command reference. */
import {
  everyCommand,
  type CommandShape,
  type OptionShape,
} from '../../src/cli/args/command-shape.js';
import { RELEASE } from '../../src/api/release.js';
import {
  blocksOf,
  describe,
  environment,
  exitCodes,
  files,
  isWorker,
  naming,
  ownOptions,
  programShape,
  synopsisOf,
  type Fact,
} from './command-facts.js';

/** A page must have a date. What it says is of the release that it names. */
const dated = '2026-11-27';

export async function manPage(): Promise<string> {
  const program = await programShape();
  const workers = [...everyCommand(program)].filter(isWorker);
  return `${[
    '.\\" Generated from src/cli by `npm run docs`. Do not edit.',
    `.TH STRATALOG 1 ${dated} "stratalog ${RELEASE}" "User Commands"`,
    '.SH NAME',
    ...filled(`stratalog - ${program.description}`),
    '.SH SYNOPSIS',
    ...workers.flatMap((command, index) => [
      ...(index === 0 ? [] : ['.br']),
      ...synopsisLines(synopsisOf(command)),
    ]),
    '.SH DESCRIPTION',
    ...paragraphs([
      "Stratalog runs beside containerd as a proxy plugin, keeps every layer and every container's writable directory, and writes down each thing that happens to them before it tells anybody. Replaying that log is how it starts, how it recovers from a crash, and how one finds out what happened and who asked.",
      'Results go to standard output, everything else to standard error. With `--json` a list is one JSON object on each line, which begins with the name of its schema. Commands that look write nothing, take no lock and work beside the daemon.',
    ]),
    '.SH OPTIONS',
    ...program.options.flatMap(optionLines),
    '.SH COMMANDS',
    ...workers.flatMap(sectionOf),
    '.SH NAMING A SNAPSHOT',
    ...paragraphs(naming),
    '.SH EXIT STATUS',
    ...exitCodes.flatMap(factLines),
    '.SH ENVIRONMENT',
    ...environment.flatMap(factLines),
    '.SH FILES',
    ...files.flatMap(factLines),
    '.SH SEE ALSO',
    '.BR containerd (8),',
    '.BR ctr (8)',
    '.PP',
    ...paragraphs([
      "docs/README.md of the package lists the other pages: operations, recovery, settings, the log's format.",
    ]),
  ].join('\n')}\n`;
}

function sectionOf(command: CommandShape): string[] {
  const { path, description, aliases, notes, arguments: args } = command;
  const also = aliases.length === 0 ? '' : ` Also: ${aliases.join(', ')}.`;
  return [
    `.SS stratalog ${path.map(plain).join(' ')}`,
    ...synopsisLines(synopsisOf(command)),
    '.PP',
    ...filled(`${description.charAt(0).toUpperCase()}${description.slice(1)}.${also}`),
    ...args.flatMap((argument) => [
      '.TP',
      `.I ${plain(argument.term)}`,
      ...filled(
        argument.values.kind === 'words'
          ? `${argument.description}: ${argument.values.words.join(', ')}`
          : argument.description,
      ),
    ]),
    ...ownOptions(command).flatMap(optionLines),
    ...blocksOf(notes).flatMap((block) =>
      block.kind === 'text'
        ? ['.PP', ...filled(block.text)]
        : ['.PP', '.in +4n', '.EX', ...block.lines.map(plain), '.EE', '.in'],
    ),
  ];
}

/** The words of the command in bold, what stands for others as it is. */
function synopsisLines(synopsis: string): string[] {
  const from = synopsis.search(/ [[<]/);
  const [words, rest] =
    from < 0 ? [synopsis, ''] : [synopsis.slice(0, from), synopsis.slice(from + 1)];
  return [`.B ${plain(words)}`, ...(rest === '' ? [] : [plain(rest)])];
}

function optionLines(option: OptionShape): string[] {
  return ['.TP', `.B ${plain(option.flags)}`, ...filled(describe(option))];
}

const factLines = ({ name, meaning }: Fact): string[] => [
  '.TP',
  `.B ${plain(name)}`,
  plain(meaning),
];

/** The first one needs no request behind a heading. */
const paragraphs = (texts: readonly string[]): string[] =>
  texts.flatMap((text, index) => (index === 0 ? filled(text) : ['.PP', ...filled(text)]));

/** Lines of a length that tools like; where they end means nothing to the page. */
function filled(text: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length >= 72) {
      lines.push(plain(line));
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, plain(line)];
}

/** As roff takes it for text: a hyphen that can be copied, no request by accident. */
function plain(text: string): string {
  return text
    .replaceAll('`', '')
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1');
}

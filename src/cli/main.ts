/**
 * The `stratalog` command. Results go to stdout, everything else to stderr; an error is one line
 * that says what was wrong, where, and what to do next, and an exit code that says which sort.
 */
import { Command, CommanderError, Help, type OutputConfiguration } from 'commander';
import { reasonOf } from '../base/errors.js';
import { RELEASE } from '../api/release.js';
import { errnoHint } from '../base/errno-hints.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import { givenPaths } from './args/path-values.js';
import { exitIfStalled, requireWorkingDirectory } from './terminal/process-guards.js';
import { OutputClosed, OutputFailed, stdout } from './terminal/result-writer.js';
import { requireUtf8 } from './args/root-option.js';
import { endBy, EndedBySignal } from './terminal/signals.js';

export async function main(argv: readonly string[]): Promise<void> {
  const settled = exitIfStalled();
  // A message that cannot be written is no reason to end in the middle of something.
  process.stderr.off('error', ignore).on('error', ignore);
  try {
    await run(argv);
    await stdout.settled();
  } catch (thrown) {
    process.exitCode = report(thrown);
  }
  settled();
}

const ignore = (): void => undefined;

/** Help and version come as errors, and may not have been written. */
async function run(argv: readonly string[]): Promise<void> {
  try {
    requireWorkingDirectory();
    const program = await buildProgram(argv[2]);
    await program.parseAsync(argv);
  } catch (thrown) {
    await stdout.settled();
    throw thrown;
  }
}

/**
 * The program, not yet run: with the one command that the word names, else with all of them.
 * Completion and the generated pages read the same tree as the parser.
 */
export async function buildProgram(word?: string): Promise<Command> {
  const program = new Command('stratalog')
    .description('a containerd remote snapshotter whose only truth is an append-only event log')
    .version(RELEASE)
    // Arguments stand in each command's own help: here they would leave no room for what it does.
    .configureHelp({
      subcommandTerm: (command) => [command.name(), ...command.aliases()].join('|'),
    })
    .exitOverride()
    .configureOutput(outputs)
    .hook('preAction', (_program, command) => givenPaths(command).forEach(requireUtf8));
  for (const load of needed(word)) program.addCommand(inheriting(await load()));
  return program;
}

/** In the order of the help. */
const commands = new Map<string, () => Promise<Command>>([
  ['serve', async () => (await import('./run/serve.js')).serveCommand()],
  ['health', async () => (await import('./run/health.js')).healthCommand()],
  ['log', async () => (await import('./past/log.js')).logCommand()],
  ['history', async () => (await import('./past/history.js')).historyCommand()],
  ['state', async () => (await import('./past/state.js')).stateCommand()],
  ['diff', async () => (await import('./past/diff.js')).diffCommand()],
  ['who', async () => (await import('./root/who.js')).whoCommand()],
  ['why', async () => (await import('./past/why.js')).whyCommand()],
  ['replay', async () => (await import('./past/replay.js')).replayCommand()],
  ['machine', async () => (await import('./past/machine.js')).machineCommand()],
  ['ui', async () => (await import('./run/ui.js')).uiCommand()],
  ['inspect', async () => (await import('./root/inspect.js')).inspectCommand()],
  ['verify', async () => (await import('./evidence/verify.js')).verifyCommand()],
  ['repair', async () => (await import('./root/repair.js')).repairCommand()],
  ['gc', async () => (await import('./root/gc.js')).gcCommand()],
  ['layers', async () => (await import('./past/layers.js')).layersCommand()],
  ['mount', async () => (await import('./past/mount.js')).mountCommand()],
  ['export', async () => (await import('./evidence/export.js')).exportCommand()],
  ['import', async () => (await import('./evidence/import.js')).importCommand()],
  ['attest', async () => (await import('./evidence/attest.js')).attestCommand()],
  ['checkpoint', async () => (await import('./root/checkpoint.js')).checkpointCommand()],
  ['compact', async () => (await import('./root/compact.js')).compactCommand()],
  ['layer', async () => (await import('./layers/layer.js')).layerCommand()],
  ['config', async () => (await import('./run/config.js')).configCommand()],
  [
    'completion',
    async () => (await import('./args/completion/completion.js')).completionCommand(buildProgram),
  ],
]);

/** The one that is asked for: loading all of them is most of a start. Help speaks of all. */
function needed(word: string | undefined): Iterable<() => Promise<Command>> {
  if (word === '--version' || word === '-V') return [];
  const command = word === undefined ? undefined : commands.get(word);
  return command === undefined ? commands.values() : [command];
}

const plainHelp = new Help();
const outputs: OutputConfiguration = {
  writeOut: (text) => stdout.post(text),
  outputError: (text, write) => write(text.replace(/^error: /, 'stratalog: ')),
};

/** Errors of sub-commands must come back to `main` too, and their helps look alike. */
function inheriting(command: Command): Command {
  command.configureHelp({
    optionDescription: (option) =>
      `${plainHelp.optionDescription(option)}${option.mandatory ? ' (must be given)' : ''}`,
  });
  command.exitOverride();
  command.configureOutput(outputs);
  for (const child of command.commands) inheriting(child);
  return command;
}

function report(thrown: unknown): number {
  if (thrown instanceof CommanderError) {
    // commander has printed its message already; help and version are no failures.
    return thrown.exitCode === 0 ? Number(process.exitCode ?? EXIT.ok) : EXIT.usage;
  }
  if (thrown instanceof OutputClosed) return EXIT.outputClosed;
  if (thrown instanceof EndedBySignal) endBy(thrown.signal);
  process.stderr.write(`stratalog: ${reasonOf(thrown)}${errnoHint(thrown)}\n`);
  const code = exitCodeOf(thrown);
  // Behind damage that was reported it is unknown whether the command had to fail.
  const isCut = process.exitCode === EXIT.findings && !(thrown instanceof OutputFailed);
  if (isCut && code === EXIT.failed) return EXIT.findings;
  if (code === EXIT.broken && thrown instanceof Error) process.stderr.write(`${thrown.stack}\n`);
  return code;
}

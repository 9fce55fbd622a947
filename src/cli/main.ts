/**
 * The `stratalog` command. Results go to stdout, everything else to stderr. An error is one line
 * that states what failed, where, and what to do next; the exit code gives its class.
 */
import { Command, CommanderError, Help, type OutputConfiguration } from 'commander';
import { reasonOf } from '../base/errors.js';
import { RELEASE } from '../api/release.js';
import { errnoHint } from '../base/errno-hints.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import { pathsIn } from './args/path-values.js';
import { exitIfStalled, requireWorkingDirectory } from './terminal/process-guards.js';
import { OutputClosed, OutputFailed, stdout } from './terminal/result-writer.js';
import { requireUtf8 } from './args/root-option.js';
import { EndedBySignal, exitBySignal } from './terminal/signals.js';

export async function main(argv: readonly string[]): Promise<void> {
  const settled = exitIfStalled();
  // A failed write to stderr must not interrupt the command.
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

/** commander throws for help and version; their text may still be in flight. */
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
 * Builds the program without running it: with the command that `word` names, else with all of them.
 * Completion and the generated pages read the same tree as the parser.
 */
export async function buildProgram(word?: string): Promise<Command> {
  const program = new Command('stratalog')
    .description('a containerd remote snapshotter whose only truth is an append-only event log')
    .version(RELEASE)
    // Arguments are in each command's own help; here they would crowd out the descriptions.
    .configureHelp({
      subcommandTerm: (command) => [command.name(), ...command.aliases()].join('|'),
    })
    .exitOverride()
    .configureOutput(outputs)
    .hook('preAction', (_program, command) => pathsIn(command).forEach(requireUtf8));
  for (const load of loadersFor(word)) program.addCommand(configured(await load()));
  return program;
}

/** In the order in which the help lists them. */
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

/** Loads one command if possible: loading all of them takes most of the startup time. */
function loadersFor(word: string | undefined): Iterable<() => Promise<Command>> {
  if (word === '--version' || word === '-V') return [];
  const command = word === undefined ? undefined : commands.get(word);
  return command === undefined ? commands.values() : [command];
}

const plainHelp = new Help();
const outputs: OutputConfiguration = {
  writeOut: (text) => stdout.post(text),
  outputError: (text, write) => write(text.replace(/^error: /, 'stratalog: ')),
};

/** Routes errors of sub-commands to `main` and gives all help texts the same format. */
function configured(command: Command): Command {
  command.configureHelp({
    optionDescription: (option) =>
      `${plainHelp.optionDescription(option)}${option.mandatory ? ' (required)' : ''}`,
  });
  command.exitOverride();
  command.configureOutput(outputs);
  for (const child of command.commands) configured(child);
  return command;
}

function report(thrown: unknown): number {
  if (thrown instanceof CommanderError) {
    // commander has already printed its message. Help and version are not failures.
    return thrown.exitCode === 0 ? Number(process.exitCode ?? EXIT.ok) : EXIT.usage;
  }
  if (thrown instanceof OutputClosed) return EXIT.outputClosed;
  if (thrown instanceof EndedBySignal) exitBySignal(thrown.signal);
  process.stderr.write(`stratalog: ${reasonOf(thrown)}${errnoHint(thrown)}\n`);
  const code = exitCodeOf(thrown);
  // After reported damage the failure may be a consequence of the damage.
  const isDamaged = process.exitCode === EXIT.findings && !(thrown instanceof OutputFailed);
  if (isDamaged && code === EXIT.failed) return EXIT.findings;
  if (code === EXIT.broken && thrown instanceof Error) process.stderr.write(`${thrown.stack}\n`);
  return code;
}

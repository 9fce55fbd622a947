/**
 * The daemon's messages: pino on stderr with the field names of containerd's own logs, so that one
 * query finds both. `level` and `msg`, `time` in RFC 3339 with nanoseconds, `error` as text.
 * These lines are for people; what happened to a snapshot is in the event log.
 */
import { isatty } from 'node:tty';
import pino from 'pino';
import pc from 'picocolors';
import { formatTime } from '../../base/units.js';
import type { Clock } from '../../base/ports.js';
import { terminalTraits } from '../../base/terminal.js';

/** pino's methods trace to fatal, and `panic` for a broken invariant, as logrus has it. */
export type Logger = pino.Logger<'panic'>;
type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'panic';

export interface LoggerOptions {
  readonly level: LogLevel;
  /** `auto` is text on a terminal and JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'text';
  readonly clock: Pick<Clock, 'now'>;
  /** 2 (stderr) when not given. */
  readonly fd?: number;
  readonly isTerminal?: boolean;
}

/** Messages that wait for a stuck reader of stderr; beyond this they are dropped, not kept. */
const waitingBytesMax = 8 * 1024 * 1024;

/**
 * Opens the logger. Writing never blocks: a journal that hangs must not stop the daemon. What
 * still waits at the exit of the process is written then, which may hang with the journal; who
 * must end calls `flushed` and then ends the process at once.
 */
export function openLogger(options: LoggerOptions): {
  readonly logger: Logger;
  /** True when all is written; false when it cannot be, or not within the limit. */
  readonly flushed: (limitMillis?: number) => Promise<boolean>;
} {
  const destination = pino.destination({
    fd: options.fd ?? 2,
    sync: false,
    // With 0, which writes as soon, its `flush` waits for nothing (sonic-boom).
    minLength: 1,
    maxLength: waitingBytesMax,
  });
  // A closed pipe at the other end is no reason to stop serving.
  destination.on('error', () => undefined);
  const isTerminal = options.isTerminal ?? isatty(options.fd ?? 2);
  const isText = options.format === 'text' || (options.format === 'auto' && isTerminal);
  const colours = pc.createColors(terminalTraits(isTerminal, process.env).hasColors);
  const stream: pino.DestinationStream = isText
    ? { write: (line) => void destination.write(textLine(line, colours)) }
    : destination;
  const showStack = options.level === 'trace' || options.level === 'debug';
  const logger = pino<'panic'>(
    {
      level: options.level,
      customLevels: { panic: 70 },
      errorKey: 'error',
      serializers: { error: (thrown: unknown) => errorText(thrown, showStack) },
      formatters: { level: (label) => ({ level: levelWord(label) }), bindings: () => ({}) },
      timestamp: () => `,"time":"${formatTime(options.clock.now())}"`,
    },
    stream,
  );
  const flushed = (limitMillis = 5000): Promise<boolean> =>
    new Promise((resolve) => {
      setTimeout(resolve, limitMillis, false).unref();
      destination.flush((thrown) => {
        // A pipe has no `fsync`.
        resolve(!thrown || (thrown as NodeJS.ErrnoException).syscall === 'fsync');
      });
    });
  return { logger, flushed };
}

/** logrus says `warning` where pino says `warn`. */
const levelWord = (label: string): string => (label === 'warn' ? 'warning' : label);

/** One line with all causes; the stack alone when someone debugs. */
function errorText(thrown: unknown, showStack: boolean): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if (showStack && thrown.stack !== undefined) return thrown.stack;
  const parts = [thrown.message];
  let { cause } = thrown;
  // A chain of causes may be a circle.
  while (cause instanceof Error && parts.length < 8) {
    if (!parts.some((part) => part.includes(errorMessage(cause)))) parts.push(errorMessage(cause));
    cause = cause.cause;
  }
  return parts.join(': ');
}

const errorMessage = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : '');

const controls = /\p{Cc}/gu;

const escaped = (character: string): string => JSON.stringify(character).slice(1, -1);

type Colours = ReturnType<typeof pc.createColors>;

/** One JSON line as text: time, level, message, then the fields as `key=value`. */
function textLine(line: string, colours: Colours): string {
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const word = typeof level === 'string' ? level : 'info';
  const rest = Object.entries(fields).map(
    ([name, value]) => ` ${colours.dim(`${name}=`)}${textValue(value)}`,
  );
  const head = `${colours.dim(textValue(time))} ${levelColour(word, colours)(word.toUpperCase())}`;
  // Names of images and keys come from strangers: no line breaks, no commands to the terminal.
  const message = typeof msg === 'string' ? msg.replaceAll(controls, escaped) : '';
  return `${head} ${message}${rest.join('')}\n`;
}

function textValue(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(value);
}

function levelColour(word: string, colours: Colours): (text: string) => string {
  if (['error', 'fatal', 'panic'].includes(word)) return colours.red;
  if (word === 'warning') return colours.yellow;
  return word === 'info' ? colours.green : colours.dim;
}

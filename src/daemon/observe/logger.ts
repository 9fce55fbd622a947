/**
 * The daemon's log messages: pino on stderr with the field names of containerd's logs, so that one
 * query finds both: `level`, `msg`, `time` in RFC 3339 with nanoseconds, `error` as text.
 */
import { isatty } from 'node:tty';
import pino from 'pino';
import pc from 'picocolors';
import { formatTime } from '../../base/units.js';
import type { Clock } from '../../base/ports.js';
import { terminalTraits } from '../../base/terminal.js';

/** pino's levels, and `panic` for a broken invariant, as in logrus. */
export type Logger = pino.Logger<'panic'>;
type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'panic';

export interface LoggerOptions {
  readonly level: LogLevel;
  /** `auto`: text on a terminal, otherwise JSON. */
  readonly format: 'auto' | 'json' | 'text';
  readonly clock: Pick<Clock, 'now'>;
  /** Default: 2 (stderr). */
  readonly fd?: number;
  readonly isTerminal?: boolean;
}

/** Messages buffered while the reader of stderr is blocked; further ones are dropped. */
const bufferedBytesMax = 8 * 1024 * 1024;

/**
 * Writing never blocks: a journal that hangs must not stop the daemon. Buffered messages are
 * written when the process exits, which can hang. To exit for certain, call `flushed` and then end
 * the process at once.
 */
export function openLogger(options: LoggerOptions): {
  readonly logger: Logger;
  /** Resolves to true if all messages are written, false on failure or timeout. */
  readonly flushed: (limitMillis?: number) => Promise<boolean>;
} {
  const destination = pino.destination({
    fd: options.fd ?? 2,
    sync: false,
    // With 0, `flush` of sonic-boom does not wait for pending writes.
    minLength: 1,
    maxLength: bufferedBytesMax,
  });
  // The daemon keeps serving when the reader closes the pipe.
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
        // fsync fails on a pipe.
        resolve(!thrown || (thrown as NodeJS.ErrnoException).syscall === 'fsync');
      });
    });
  return { logger, flushed };
}

/** logrus has `warning` for pino's `warn`. */
const levelWord = (label: string): string => (label === 'warn' ? 'warning' : label);

/** One line with all causes, or the stack. */
function errorText(thrown: unknown, showStack: boolean): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if (showStack && thrown.stack !== undefined) return thrown.stack;
  const parts = [thrown.message];
  let { cause } = thrown;
  // A chain of causes can be circular.
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
  // Messages contain untrusted names: line breaks and terminal escapes are escaped.
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

/**
 * JSON without what varies and without wording: a value that depends on the machine or the moment
 * becomes a placeholder, and so does a sentence. Names, structure and all other values stay.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { goldenRoot } from './fixture.js';

/** What was recorded, or is fixed by containerd: no wording of ours. */
const recordedKeys: ReadonlySet<string> = new Set(['data', 'labels']);

/** One of a few values that scripts compare with, though some are of several words. */
const valueKeys: ReadonlySet<string> = new Set(['outcome']);

/** Written for people, even where it is one word. */
const wordingKeys: ReadonlySet<string> = new Set([
  ...['action', 'evidence', 'failure', 'loss', 'losses', 'mistakes', 'mountsUnknownBecause'],
  ...['needsPerson', 'noCauseBecause', 'steps', 'summary', 'what'],
]);

/** Fields that differ on every machine or in every run, by the schema of their object. */
const varyingFields: Readonly<Record<string, readonly string[]>> = {
  'stratalog.attestation/v1': ['key', 'release', 'signature'],
  'stratalog.export-end/v1': ['sha256'],
  'stratalog.gc/v1': ['size'],
  'stratalog.layer-listing/v1': ['size'],
  'stratalog.ui/v1': ['url'],
};

const expected: unknown = JSON.parse(readFileSync(join(goldenRoot, '../expected.json'), 'utf8'));
/** Names and labels of the golden log may be of several words. */
const recorded: ReadonlySet<string> = new Set(stringsIn(expected));

function* stringsIn(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  if (typeof value !== 'object' || value === null) return;
  for (const inner of Object.values(value)) yield* stringsIn(inner);
}

/** The clock of the golden log: it shows this hour. */
const goldenHour = '2026-01-01T00:';
const isGoldenNanos = (digits: string): boolean =>
  new Date(Number(BigInt(digits) / 1_000_000n)).toISOString().startsWith(goldenHour);

/** Paths below the directory, and clocks. */
export function steadyText(text: string, directory: string): string {
  return text
    .replaceAll(directory, '<dir>')
    .replace(/<dir>\/(copy|none)-\d+/g, '<dir>/$1')
    .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (time) =>
      time.startsWith(goldenHour) || recorded.has(time) ? time : '<time>',
    )
    .replace(/\b\d{19}\b/g, (digits) => (isGoldenNanos(digits) ? digits : '<nanos>'));
}

/** Lines of JSON, each object printed over several lines so that a difference is easy to read. */
export function steadyJson(stdout: string, directory: string): string {
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines
    .map((line) => pretty(steadyObject(JSON.parse(line) as JsonObject, directory)))
    .join('\n');
}

type JsonObject = Readonly<Record<string, unknown>>;

function steadyObject(object: JsonObject, directory: string): unknown {
  const varying = varyingFields[String(object['schema'])] ?? [];
  const entries = Object.entries(object).map(([key, value]) => [
    key,
    varying.includes(key) && value !== null ? `<${key}>` : steady(value, { key, directory }),
  ]);
  return Object.fromEntries(entries) as unknown;
}

interface Place {
  readonly key: string;
  readonly directory: string;
  /** In the body of an event, or among labels. */
  readonly isRecorded?: boolean;
}

function steady(value: unknown, place: Place): unknown {
  if (typeof value === 'string') return steadyString(value, place);
  if (place.key === 'pid' && typeof value === 'number' && place.isRecorded !== true) {
    // Of the callers in the golden log.
    return [1, 4242].includes(value) ? value : '<pid>';
  }
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((one) => steady(one, place));
  const entries = Object.entries(value).map(([key, inner]) => {
    const isRecorded = place.isRecorded === true || recordedKeys.has(place.key);
    return [key, steady(inner, { key, directory: place.directory, isRecorded })];
  });
  return Object.fromEntries(entries) as unknown;
}

function steadyString(text: string, { key, directory, isRecorded = false }: Place): string {
  const isSentence = /\s/.test(text) && !recorded.has(text) && !valueKeys.has(key);
  const isWording = !isRecorded && (wordingKeys.has(key) || isSentence);
  return isWording ? '<text>' : steadyText(text, directory);
}

/** A value that fits is on one line. */
const LINE_MAX = 100;

function pretty(value: unknown, indent = ''): string {
  const line = JSON.stringify(value);
  if (typeof value !== 'object' || value === null || indent.length + line.length <= LINE_MAX) {
    return line;
  }
  const inner = `${indent}  `;
  const isList = Array.isArray(value);
  const parts = Object.entries(value).map(
    ([key, one]) => `${inner}${isList ? '' : `${JSON.stringify(key)}: `}${pretty(one, inner)}`,
  );
  const [open, close] = isList ? '[]' : '{}';
  return `${open ?? ''}\n${parts.join(',\n')}\n${indent}${close ?? ''}`;
}

/**
 * Reads the configuration: flags over environment over file over defaults. A mistake is an error
 * that names the file, the line and what was probably meant; nothing is ignored silently, because
 * a setting that has no effect is found out only when it was needed.
 */
import { closest, distance } from 'fastest-levenshtein';
import { parse, TomlError } from 'smol-toml';
import type * as z from 'zod';
import { errnoOf, reasonOf, UsageError } from '../../base/errors.js';
import { defaultConfigFile } from './config-file.js';
import { configEntries, configSchema } from './config-schema.js';

type Camel<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : Name;

type Camelized<T> = T extends readonly unknown[]
  ? Readonly<T>
  : T extends object
    ? { readonly [Key in keyof T as Key extends string ? Camel<Key> : never]: Camelized<T[Key]> }
    : T;

/**
 * The configuration in force, deeply frozen. Names are those of the file in camel case; durations
 * are milliseconds, sizes are bytes, permission bits a number, "" as none is null.
 */
export type Config = Camelized<z.output<typeof configSchema>>;

/** Where a setting's value comes from. */
export type ConfigOrigin =
  | { readonly from: 'default' }
  | { readonly from: 'file'; readonly file: string; readonly line: number | null }
  | { readonly from: 'environment'; readonly variable: string }
  | { readonly from: 'flag'; readonly flag: string };

/** One setting as it was given, before it was understood. */
export interface ConfigSource {
  /** Dotted, as in the file: `log.level`. */
  readonly setting: string;
  /** As it would be written in the file; undefined when it is not set at all. */
  readonly value: unknown;
  readonly isDefault: boolean;
  readonly origin: ConfigOrigin;
}

export interface LoadedConfig {
  readonly config: Config;
  /** The file that was read; null when the default one does not exist. */
  readonly file: string | null;
  /** Each setting in the order of the sample file. */
  readonly sources: readonly ConfigSource[];
}

/** Values given on the command line, by setting (`log.level`). */
export type ConfigFlags = ReadonlyMap<string, string | boolean>;

export interface ConfigInputs {
  /** The file named by `--config`. */
  readonly configFile?: string | undefined;
  readonly flags?: ConfigFlags;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a text file; rejects with an errno error (ENOENT) as fs.readFile does. */
  readonly readFile: (path: string) => Promise<string>;
}

/** Environment variables and the settings they stand for. */
const environment: ReadonlyMap<string, string> = new Map([
  ['STRATALOG_ROOT', 'root'],
  ['STRATALOG_ADDRESS', 'address'],
  ['STRATALOG_LOG_LEVEL', 'log.level'],
]);

type Tree = Record<string, unknown>;

/**
 * The configuration from all its sources. The file is the one of `--config`, else of
 * STRATALOG_CONFIG, else the default one, which alone may be missing.
 *
 * @throws UsageError with one line for each mistake: `file:line: setting: what is wrong`.
 */
export async function loadConfig(inputs: ConfigInputs): Promise<LoadedConfig> {
  const named = inputs.configFile ?? nonEmpty(inputs.env['STRATALOG_CONFIG']);
  const path = named ?? defaultConfigFile;
  const text = await readConfigFile(path, named !== undefined, inputs.readFile);
  const tree: Tree = text === null ? emptyTree() : parseToml(path, text);
  const origins = new Map<string, ConfigOrigin>();
  for (const [setting, line] of linesOf(text ?? '')) {
    origins.set(setting, { from: 'file', file: path, line });
  }

  const override = (setting: string, value: string | boolean, origin: ConfigOrigin): void => {
    assign(tree, setting.split('.'), value);
    origins.set(setting, origin);
  };
  for (const [variable, setting] of environment) {
    const value = nonEmpty(inputs.env[variable]);
    if (value !== undefined) override(setting, value, { from: 'environment', variable });
  }
  for (const [setting, value] of inputs.flags ?? []) {
    override(setting, value, { from: 'flag', flag: `--${setting.replaceAll(/[._]/g, '-')}` });
  }

  const sources = fillDefaults(tree, origins, path);
  const parsed = configSchema.safeParse(tree);
  const mistakes = parsed.success
    ? contradictions(parsed.data)
    : parsed.error.issues.flatMap(mistakesOf);
  if (!parsed.success || mistakes.length > 0) {
    const found = mistakes.map((mistake) => located(mistake, origins, path));
    found.sort((one, other) => one.line - other.line);
    throw new UsageError(found.map((one) => one.text).join('\n'));
  }
  const config = freeze(camelized(parsed.data)) as Config;
  return { config, file: text === null ? null : path, sources };
}

async function readConfigFile(
  path: string,
  mustExist: boolean,
  readFile: ConfigInputs['readFile'],
): Promise<string | null> {
  try {
    return await readFile(path);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT' && !mustExist) return null;
    if (thrown instanceof UsageError) throw thrown;
    throw new UsageError(`configuration file ${path} cannot be read: ${reasonOf(thrown)}`, {
      cause: thrown,
    });
  }
}

function parseToml(path: string, text: string): Tree {
  try {
    return parse(text);
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown;
    const [what = ''] = thrown.message.split('\n');
    const why = what.replace('Invalid TOML document: ', '');
    const line = text.split('\n')[thrown.line - 1]?.trim().slice(0, 60) ?? '';
    throw new UsageError(`${path}:${thrown.line}: not TOML: ${why}: ${JSON.stringify(line)}`, {
      cause: thrown,
    });
  }
}

/** Writes the defaults into the tree where it has no value, and tells where each value is from. */
function fillDefaults(
  tree: Tree,
  origins: ReadonlyMap<string, ConfigOrigin>,
  file: string,
): ConfigSource[] {
  const sources: ConfigSource[] = [];
  for (const entry of configEntries()) {
    const given = valueAt(tree, entry.path);
    const setting = entry.path.join('.');
    if (entry.kind === 'group') {
      if (given === undefined) assign(tree, entry.path, emptyTree());
      continue;
    }
    const { fallback } = entry;
    if (given === undefined) {
      if (fallback !== undefined) assign(tree, entry.path, fallback);
      sources.push({ setting, value: fallback, isDefault: true, origin: { from: 'default' } });
      continue;
    }
    const isDefault = JSON.stringify(given) === JSON.stringify(fallback);
    const origin = origins.get(setting) ?? { from: 'file', file, line: null };
    sources.push({ setting, value: given, isDefault, origin });
  }
  return sources;
}

interface Mistake {
  readonly path: readonly string[];
  readonly message: string;
}

function mistakesOf(issue: z.core.$ZodIssue): Mistake[] {
  const path = issue.path.map(String);
  if (issue.code !== 'unrecognized_keys') {
    return [{ path, message: inTermsOfToml(issue.message) }];
  }
  return issue.keys.map((key) => ({
    path: [...path, key],
    message: `unknown setting${meant([...path, key])}`,
  }));
}

const tomlTerms: Readonly<Record<string, string>> = {
  object: 'table',
  array: 'list',
  int: 'whole number',
  TomlDate: 'date',
  NaN: 'nan',
};

/** The schema's own words, but for types that a writer of TOML knows by other names. */
function inTermsOfToml(message: string): string {
  return message
    .replace(/^Invalid input: /, '')
    .replaceAll(/(?<=expected |received )\w+/g, (type) => tomlTerms[type] ?? type);
}

/** What an unknown setting was probably meant to be, as the end of a sentence. */
function meant(path: readonly string[]): string {
  const name = path.at(-1) ?? '';
  const known = configEntries().map((entry) => entry.path);
  // The right name in the wrong table is the likelier mistake; then a slip of the pen.
  const elsewhere = known.filter((candidate) => candidate.at(-1) === name);
  if (elsewhere.length > 0) {
    return `; did you mean ${elsewhere.map((candidate) => candidate.join('.')).join(' or ')}?`;
  }
  const dotted = known.map((candidate) => candidate.join('.'));
  const given = path.join('.');
  const nearest = closest(given, dotted);
  // Two letters that changed places are two steps; a third of a short name would be another name.
  const near = distance(given, nearest) * 3 <= given.length;
  return near ? `; did you mean ${nearest}?` : '';
}

/** What is wrong only when two settings are seen together. */
function contradictions(config: z.output<typeof configSchema>): Mistake[] {
  const mistakes: Mistake[] = [];
  if (config.limits.budgets.prepare <= config.effects.mount_timeout) {
    mistakes.push({
      path: ['limits', 'budgets', 'prepare'],
      message:
        'must be longer than effects.mount_timeout, or a remote layer that hangs fails the pull instead of being pulled as usual',
    });
  }
  if (config.limits.budgets.mounts <= config.effects.check_timeout) {
    mistakes.push({
      path: ['limits', 'budgets', 'mounts'],
      message:
        'must be longer than effects.check_timeout, or the reason why a layer is unusable is lost',
    });
  }
  const { root, layer_store: store } = config;
  if (store !== null && `${store}/`.startsWith(`${root.replace(/\/+$/, '')}/`)) {
    mistakes.push({
      path: ['layer_store'],
      message: `is in the root ${root}, which holds nothing but what its log knows; choose another place`,
    });
  }
  return mistakes;
}

/** The mistake as a line of text; the line of the file, or 0, is to sort by. */
function located(
  mistake: Mistake,
  origins: ReadonlyMap<string, ConfigOrigin>,
  file: string,
): { readonly text: string; readonly line: number } {
  // An element of a list stands on the line of the list.
  let depth = mistake.path.length;
  while (depth > 1 && !origins.has(mistake.path.slice(0, depth).join('.'))) depth -= 1;
  const found = origins.get(mistake.path.slice(0, depth).join('.'));
  const origin: ConfigOrigin = found ?? { from: 'file', file, line: null };
  const text = `${describeOrigin(origin)}: ${mistake.path.join('.')}: ${mistake.message}`;
  return { text, line: origin.from === 'file' ? (origin.line ?? 0) : 0 };
}

/** `file:line`, the flag or the variable. */
export function describeOrigin(origin: ConfigOrigin): string {
  switch (origin.from) {
    case 'default':
      return 'default';
    case 'environment':
      return origin.variable;
    case 'flag':
      return origin.flag;
    case 'file':
      return origin.line === null ? origin.file : `${origin.file}:${origin.line}`;
  }
}

/**
 * The line of each table and each key, by dotted path. The parser tells no places, so this reads
 * the plain forms again; keys within inline tables have the line of their table.
 */
function linesOf(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  let table: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const heading = /^\s*\[\[?\s*([^[\]]+?)\s*\]/.exec(line);
    const key = /^\s*([\w\s."'-]+?)\s*=/.exec(line);
    if (heading) table = keyParts(heading[1] ?? '');
    const path = heading ? table : key ? [...table, ...keyParts(key[1] ?? '')] : [];
    if (path.length > 0 && !lines.has(path.join('.'))) lines.set(path.join('.'), index + 1);
  }
  return lines;
}

function keyParts(dotted: string): string[] {
  return dotted.split('.').map((part) => part.trim().replaceAll(/^["']|["']$/g, ''));
}

// ---- trees ----

/** Keys come from a file: `__proto__` must be a key like any other. */
const emptyTree = (): Tree => Object.create(null) as Tree;

const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

function valueAt(tree: Tree, path: readonly string[]): unknown {
  let at: unknown = tree;
  for (const key of path) {
    if (!isTree(at) || !Object.hasOwn(at, key)) return undefined;
    at = at[key];
  }
  return at;
}

/** Does nothing where a value stands in place of a table: the schema reports that. */
function assign(tree: Tree, path: readonly string[], value: unknown): void {
  const [key, ...rest] = path;
  if (key === undefined) return;
  if (rest.length === 0) {
    tree[key] = value;
    return;
  }
  tree[key] ??= emptyTree();
  const child = tree[key];
  if (isTree(child)) assign(child, rest, value);
}

function camelized(value: unknown): unknown {
  if (!isTree(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key.replaceAll(/_(\w)/g, (_match, letter: string) => letter.toUpperCase()),
      camelized(member),
    ]),
  );
}

function freeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) freeze(member);
    Object.freeze(value);
  }
  return value;
}

const nonEmpty = (value: string | undefined): string | undefined =>
  value === '' ? undefined : value;

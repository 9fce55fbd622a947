/**
 * Loads the configuration: flags override the environment, which overrides the file, which
 * overrides the defaults. Unknown settings are errors, because an ignored setting is noticed only
 * when it is needed. An error names the file, the line and the closest valid setting.
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
 * The effective configuration, deeply frozen. Names are those of the file in camel case. Durations
 * are in milliseconds, sizes in bytes, permission bits are a number, and "" for none is null.
 */
export type Config = Camelized<z.output<typeof configSchema>>;

export type ConfigOrigin =
  | { readonly from: 'default' }
  | { readonly from: 'file'; readonly file: string; readonly line: number | null }
  | { readonly from: 'environment'; readonly variable: string }
  | { readonly from: 'flag'; readonly flag: string };

/** A setting before it is parsed. */
export interface ConfigSource {
  /** Dotted, as in the file: `log.level`. */
  readonly setting: string;
  /** As it would be written in the file; undefined if it is not set and has no default. */
  readonly value: unknown;
  readonly isDefault: boolean;
  readonly origin: ConfigOrigin;
}

export interface LoadedConfig {
  readonly config: Config;
  /** The file that was read; null if the default file does not exist. */
  readonly file: string | null;
  /** In the order of the sample file. */
  readonly sources: readonly ConfigSource[];
}

/** Values given on the command line, by setting (`log.level`). */
export type ConfigFlags = ReadonlyMap<string, string | boolean>;

export interface ConfigInputs {
  /** The file named by `--config`. */
  readonly configFile?: string | undefined;
  readonly flags?: ConfigFlags;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Rejects with an errno error, as fs.readFile does. */
  readonly readFile: (path: string) => Promise<string>;
}

/** The setting of each environment variable. */
const environment: ReadonlyMap<string, string> = new Map([
  ['STRATALOG_ROOT', 'root'],
  ['STRATALOG_ADDRESS', 'address'],
  ['STRATALOG_LOG_LEVEL', 'log.level'],
]);

type Tree = Record<string, unknown>;

/**
 * Loads the configuration from all sources. The file is that of `--config`, STRATALOG_CONFIG, or
 * the default file, in this order. Only the default file may be missing.
 *
 * @throws UsageError with one line per mistake: `file:line: setting: message`
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
    throw new UsageError(`cannot read configuration file ${path}: ${reasonOf(thrown)}`, {
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
    throw new UsageError(`${path}:${thrown.line}: invalid TOML: ${why}: ${JSON.stringify(line)}`, {
      cause: thrown,
    });
  }
}

/** Writes defaults into the tree where it has no value, and returns the origin of each value. */
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
    message: `unknown setting${suggestionFor([...path, key])}`,
  }));
}

const tomlTerms: Readonly<Record<string, string>> = {
  object: 'table',
  array: 'list',
  int: 'whole number',
  TomlDate: 'date',
  NaN: 'nan',
};

/** Replaces the schema's names of types with those of TOML. */
function inTermsOfToml(message: string): string {
  return message
    .replace(/^Invalid input: /, '')
    .replaceAll(/(?<=expected |received )\w+/g, (type) => tomlTerms[type] ?? type);
}

/** A suggestion to append to the error message; empty if there is none. */
function suggestionFor(path: readonly string[]): string {
  const name = path.at(-1) ?? '';
  const known = configEntries().map((entry) => entry.path);
  // The right name in the wrong table is more likely than a typo.
  const elsewhere = known.filter((candidate) => candidate.at(-1) === name);
  if (elsewhere.length > 0) {
    return `; did you mean ${elsewhere.map((candidate) => candidate.join('.')).join(' or ')}?`;
  }
  const dotted = known.map((candidate) => candidate.join('.'));
  const given = path.join('.');
  const nearest = closest(given, dotted);
  // Two swapped letters have distance 2. More than a third of the name would match unrelated names.
  const near = distance(given, nearest) * 3 <= given.length;
  return near ? `; did you mean ${nearest}?` : '';
}

/** Combinations of settings that are invalid. */
function contradictions(config: z.output<typeof configSchema>): Mistake[] {
  const mistakes: Mistake[] = [];
  if (config.limits.budgets.prepare <= config.effects.mount_timeout) {
    mistakes.push({
      path: ['limits', 'budgets', 'prepare'],
      message:
        'must be longer than effects.mount_timeout; otherwise a remote mount that hangs fails the pull instead of falling back to a normal pull',
    });
  }
  if (config.limits.budgets.mounts <= config.effects.check_timeout) {
    mistakes.push({
      path: ['limits', 'budgets', 'mounts'],
      message:
        'must be longer than effects.check_timeout; otherwise the reason why a layer is unusable is lost',
    });
  }
  const { root, layer_store: store } = config;
  if (store !== null && `${store}/`.startsWith(`${root.replace(/\/+$/, '')}/`)) {
    mistakes.push({
      path: ['layer_store'],
      message: `is inside the root ${root}, where unknown files are deleted; choose another path`,
    });
  }
  return mistakes;
}

/** Formats a mistake. `line` is the sort key: its line in the file, or 0. */
function located(
  mistake: Mistake,
  origins: ReadonlyMap<string, ConfigOrigin>,
  file: string,
): { readonly text: string; readonly line: number } {
  // An element of a list has the line of the list.
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
 * The line of each table and key, by dotted path. The parser reports no positions, so this scans
 * for the common forms. Keys in inline tables have the line of their table.
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

/** No prototype: keys come from a file, and `__proto__` must be an ordinary key. */
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

/** Does nothing if there is a value instead of a table: the schema reports that. */
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

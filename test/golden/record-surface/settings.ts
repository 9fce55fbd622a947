/** All settings: names and types from the schema that checks them, defaults from the printed file. */
import { parse } from 'smol-toml';
import * as z from 'zod';
import { configSchema } from '../../../src/daemon/config/config-schema.js';
import { succeed } from './fixture.js';
import type { SurfacePart } from './part.js';

export const settings: SurfacePart = {
  file: 'settings.txt',
  record: async () => {
    const defaults: unknown = parse(await succeed('config', 'default'));
    const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' });
    return `${[...linesOf(schema, defaults, [])].sort().join('\n')}\n`;
  },
};

interface Group {
  readonly properties?: Readonly<Record<string, unknown>>;
}

function* linesOf(schema: Group, value: unknown, path: readonly string[]): Generator<string> {
  if (schema.properties === undefined) {
    const fallback = value === undefined ? '' : ` = ${JSON.stringify(value)}`;
    yield `${path.join('.')}: ${JSON.stringify(schema)}${fallback}`;
    return;
  }
  for (const [name, child] of Object.entries(schema.properties)) {
    const inner: unknown = isTable(value) ? value[name] : undefined;
    yield* linesOf(child as Group, inner, [...path, name]);
  }
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null;

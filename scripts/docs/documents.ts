/** The documents that are generated, each with its place in the repository. */
import { commands } from './commands.js';
import { decisions } from './decisions.js';
import { events } from './events.js';
import { manPage } from './man.js';
import { settings } from './settings.js';
import { statecharts } from './statecharts.js';

export interface GeneratedDocument {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: () => string | Promise<string>;
}

export const documents: readonly GeneratedDocument[] = [
  { path: 'docs/reference/statecharts.md', text: statecharts },
  { path: 'docs/reference/events.md', text: events },
  { path: 'docs/reference/settings.md', text: settings },
  { path: 'docs/reference/commands.md', text: commands },
  { path: 'packaging/stratalog.1', text: manPage },
  { path: 'test/golden/decisions.md', text: decisions },
];

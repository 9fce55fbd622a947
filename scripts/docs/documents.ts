/** The documents that are generated, each with its place in the repository. */
import { decisions } from './decisions.js';
import { events } from './events.js';
import { settings } from './settings.js';
import { statecharts } from './statecharts.js';

export interface GeneratedDocument {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: () => string;
}

export const documents: readonly GeneratedDocument[] = [
  { path: 'docs/statecharts.md', text: statecharts },
  { path: 'docs/events.md', text: events },
  { path: 'docs/settings.md', text: settings },
  { path: 'test/golden/decisions.md', text: decisions },
];

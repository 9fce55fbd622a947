/** What the demo asks of the tools at its end: the command line as one would type it, and its answer. */
import pc from 'picocolors';
import { forPage } from '../guides/steady.js';
import { stratalog } from '../rig/daemon.js';

export interface Question {
  readonly question: string;
  /** Without `--root`. */
  readonly args: readonly string[];
}

export interface Answered extends Question {
  readonly lines: readonly string[];
  readonly exitCode: number;
}

/** Asks at this moment: of a stopped root as of one that is in use. */
export async function ask({ question, args }: Question, root: string): Promise<Answered> {
  const { stdout, stderr, exitCode } = await stratalog(...args, '--root', root);
  // Digests are short and columns narrow, as on a page.
  const lines = forPage(`${stdout}${stderr}`.trimEnd(), [], 0).split('\n');
  return { question, args, lines, exitCode };
}

export function renderAnswer({ question, args, lines }: Answered): string {
  const command = ['stratalog', ...args, '--root', '…'].map(quoted).join(' ');
  return ['', pc.bold(question), `${pc.cyan('$')} ${command}`, ...lines].join('\n');
}

const quoted = (word: string): string => (/^[\w@%+=:,./…-]+$/.test(word) ? word : `'${word}'`);

/**
 * A guide is made of a text with two sorts of lines in it: `%% act …` lets something happen on the
 * node and leaves no trace on the page; `$ command` in a block is run, and what it printed follows.
 * `# exits 3` behind a command says how it has to end; all others must end well.
 */
import { acts } from './acts.js';
import type { Session } from './session.js';

export async function pageFrom(text: string, session: Session): Promise<string> {
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('%% ')) await act(line.slice(3), session);
    else if (line.startsWith('$ ')) lines.push(...(await shown(line.slice(2), session)));
    else lines.push(filled(line, session));
  }
  // An act leaves an empty line on either side.
  return lines.join('\n').replaceAll(/\n{3,}/g, '\n\n');
}

async function act(line: string, session: Session): Promise<void> {
  const [name = '', ...args] = line.split(' ');
  const work = acts.get(name);
  if (work === undefined) throw new Error(`there is no act ${name}`);
  await work(session, args);
}

async function shown(line: string, session: Session): Promise<string[]> {
  const expected = Number(/# exits (\d+)$/.exec(line)?.[1] ?? 0);
  const { exitCode, output } = await session.shell(line);
  if (exitCode !== expected) {
    throw new Error(`$ ${line}\nended with ${exitCode}, not ${expected}:\n${output}`);
  }
  const text = output.trimEnd();
  return [`$ ${filled(line, session)}`, ...(text === '' ? [] : text.split('\n'))];
}

const filled = (line: string, session: Session): string =>
  line.replaceAll(/\{\{(.+?)\}\}/g, (_, name) => session.word(String(name)));

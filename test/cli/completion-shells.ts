/** Queries real shells for their completions at the end of a line, with our script loaded. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export type Shell = 'bash' | 'zsh' | 'fish';

/** The completions of the shell for each of the lines. */
export async function offeredBy(
  shell: Shell,
  script: string,
  lines: readonly string[],
  directory: string,
): Promise<string[][]> {
  const file = join(directory, `completion.${shell}`);
  await writeFile(file, script);
  const { program, args, text } = drivers[shell](file);
  const driver = join(directory, `driver.${shell}`);
  await writeFile(driver, text);
  const { stdout } = await promisify(execFile)(program, [...args, driver, ...lines], {
    cwd: directory,
    env: { PATH: process.env['PATH'] ?? '', HOME: directory, TERM: 'dumb', LC_ALL: 'C.UTF-8' },
    timeout: 60_000,
  });
  const answers = stdout.split('=== next\n').slice(1);
  return answers.map((answer) => answer.split(/\r?\n/).filter((line) => line !== ''));
}

interface Driver {
  readonly program: string;
  readonly args: readonly string[];
  readonly text: string;
}

const drivers: { readonly [Name in Shell]: (file: string) => Driver } = {
  bash: (file) => ({
    program: 'bash',
    args: ['--norc'],
    // As readline does: calls the function in `complete -p` with the line split into words.
    text: `
source ${file}
compopt() { :; }
function_of() { local words; words=($(complete -p stratalog)); echo "\${words[2]}"; }
for line in "$@"; do
  echo '=== next'
  spaced=\${line//=/ = }
  read -ra COMP_WORDS <<<"$spaced"
  [[ $line == *' ' || $line == *= ]] && [[ $line != *= ]] && COMP_WORDS+=('')
  COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=\${#line}
  COMPREPLY=()
  $(function_of)
  printf '%s\\n' "\${COMPREPLY[@]}"
done
`,
  }),
  fish: (file) => ({
    program: 'fish',
    args: ['--no-config'],
    text: `
source ${file}
for line in $argv
    echo '=== next'
    complete -C $line
end
`,
  }),
  zsh: (file) => ({
    program: 'zsh',
    args: ['-f'],
    // A shell on its own terminal, whose compadd prints its arguments.
    text: `
[[ $1 == inner ]] && {
  unsetopt zle_bracketed_paste prompt_cr prompt_sp
  PS1=
  autoload -Uz compinit
  compinit -u -D
  source ${file}
  compadd() {
    if [[ "$*" == *-[OAD]\\ * ]]; then builtin compadd "$@"; return; fi
    local -a hits
    builtin compadd -O hits "$@"
    print -rl -- "" "@"\${^hits}
    builtin compadd "$@"
  }
  ask() { print; _main_complete; compstate[insert]= compstate[list]=; print -r -- $'\\n@end'; }
  zle -C ask complete-word ask
  bindkey '^I' ask
  print -r -- '@ready'
  return
}
zmodload zsh/zpty
self=$0
zpty inner zsh -f -i
zpty -w inner "source $self inner"
# Reads line by line: with a pattern, zpty would match it at every byte.
read_until() {
  REPLY=
  local line
  while zpty -r inner line; do
    [[ $line == $1* ]] && return
    REPLY+=$line
  done
}
read_until @ready
for line in "$@"; do
  echo '=== next'
  zpty -n -w inner "$line"$'\\t'
  read_until @end
  print -r -- "$REPLY" | tr -d '\\r' | grep '^@' | cut -c2-
  zpty -n -w inner $'\\x15'
done
zpty -d inner
`,
  }),
};

/**
 * What no linter knows about this repository. Each rule names the files that break it, so that
 * the message alone says what to do.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DAEMON_EVENTS } from '../src/machines/events/daemon-events.js';
import { SNAPSHOT_EVENTS } from '../src/machines/events/events.js';

const tracked = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8' })
  .split('\0')
  .filter((path) => path !== '' && existsSync(path));

const isGenerated = (path: string) =>
  path.startsWith('src/api/generated/') || path === 'package-lock.json';
const isText = (path: string) =>
  /\.(ts|md|sh|json|js|cjs|toml|yaml|proto|service|socket|go)$/.test(path);

const written = tracked.filter((path) => isText(path) && !isGenerated(path));
const programs = written.filter((path) => path.endsWith('.ts'));
const pages = written.filter((path) => path.endsWith('.md'));
const read = (path: string) => readFileSync(path, 'utf8');

/** Files in which the pattern occurs, with the line, leaving out those that may. */
function findings(
  paths: readonly string[],
  pattern: RegExp,
  may: (path: string) => boolean = () => false,
): string[] {
  return paths
    .filter((path) => !may(path))
    .flatMap((path) =>
      read(path)
        .split('\n')
        .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}`] : [])),
    );
}

/** Put together here, so that this file does not break its own rules. */
const word = (...parts: string[]) => new RegExp(`\\b(${parts.join('|')})\\b`);

describe('programs', () => {
  it('have at most 400 lines that are neither empty nor comment', () => {
    const long = programs.filter((path) => {
      const lines = read(path).split('\n');
      return lines.filter((line) => !/^\s*($|\/\/|\/?\*)/.test(line)).length > 400;
    });
    expect(long).toEqual([]);
  });

  it('begin by saying what they are for', () => {
    // The few lines that start the program say it themselves.
    const isShort = (path: string) => read(path).split('\n').length < 10;
    const silent = programs
      .filter((path) => path.startsWith('src/') && !isShort(path))
      .filter((path) => !/^(#!.*\n)?(\/\*\*|\/\/)/.test(read(path)));
    expect(silent).toEqual([]);
  });

  it('read clock, chance and environment only where the world is met', () => {
    const meetsTheWorld = (path: string) => /^src\/(host|api|daemon|cli)[/.]/.test(path);
    const sources = programs.filter((path) => path.startsWith('src/'));
    // A program that is started is handed the environment as a whole; that reads no setting.
    const pattern = /\b(Date\.now|Math\.random|(?<!\.\.\.)process\.env)\b/;
    expect(findings(sources, pattern, meetsTheWorld)).toEqual([]);
  });

  it('leave nothing for later', () => {
    expect(findings(written, word('TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'))).toEqual([]);
  });

  it('silence neither the compiler nor the linter', () => {
    const pattern = new RegExp(['eslint-' + 'disable', '@ts-' + '(ignore|nocheck)'].join('|'));
    expect(findings(programs, pattern)).toEqual([]);
  });
});

describe('tests', () => {
  // `skipIf` is allowed: it says on which machine a test cannot run, and the report shows it.
  it('are never skipped, postponed or singled out', () => {
    const tests = programs.filter((path) => path.startsWith('test/'));
    const pattern = /\b(it|test|describe)(\.\w+)*\.(skip|todo|only|fails)\b/;
    expect(findings(tests, pattern)).toEqual([]);
  });

  it('are sentences without the word that weakens them', () => {
    const tests = programs.filter((path) => path.endsWith('.test.ts'));
    expect(findings(tests, new RegExp(`\\bit\\(['\`].*\\bsho` + `uld\\b`))).toEqual([]);
  });
});

describe('pages', () => {
  it('have exactly one title', () => {
    const wrong = pages.filter((path) => {
      const withoutCode = read(path).replace(/^(```|~~~)[\s\S]*?^\1/gm, '');
      return withoutCode.match(/^# /gm)?.length !== 1;
    });
    expect(wrong).toEqual([]);
  });

  it('link only to files that are there', () => {
    const broken = pages.flatMap((path) =>
      [...read(path).matchAll(/\]\(([^)\s#]+)(#[^)]*)?\)/g)]
        .map((match) => match[1] ?? '')
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => !existsSync(normalize(join(dirname(path), target))))
        .map((target) => `${path} -> ${target}`),
    );
    expect(broken).toEqual([]);
  });
});

describe('events', () => {
  it('have a meaning, a version, and a chapter in docs/reference/events.md', () => {
    const chapters = read('docs/reference/events.md');
    for (const [type, { meaning, version }] of [
      ...Object.entries(SNAPSHOT_EVENTS),
      ...Object.entries(DAEMON_EVENTS),
    ]) {
      expect(meaning, type).toMatch(/^\S.{10,}[^.]$/);
      expect(version, type).toBeGreaterThan(0);
      expect(chapters, type).toContain(`\n### ${type}\n`);
    }
  });
});

describe('tracked files', () => {
  it('name no path of the machine they were written on', () => {
    expect(findings(written, /(?<![\w}.*])\/(work|home|Users)\/[a-z]/)).toEqual([]);
  });

  it('name no package registry: every machine has its own', () => {
    const hosts = new RegExp(
      ['registry\\.npm' + 'js', 'verdac' + 'cio', 'artifac' + 'tory'].join('|'),
    );
    expect(findings([...written, 'package-lock.json', '.npmrc'], hosts)).toEqual([]);
  });

  it('hold no conflict marks', () => {
    expect(findings(written, /^(<{7}|>{7}) /)).toEqual([]);
  });
});

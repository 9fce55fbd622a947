/**
 * What a TypeScript program sees of each entry point of the package. Types are printed by what
 * they are made of: exported names stay names, others are expanded. So a file, an internal type or
 * a parameter can be moved or renamed, and only what a caller could notice changes the text.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { repository } from '../../../scripts/rig/daemon.js';
import type { SurfacePart } from './part.js';
import { TypePrinter } from './type-printer.js';

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>;
}

const { exports: entryPoints } = JSON.parse(
  readFileSync(join(repository, 'package.json'), 'utf8'),
) as Manifest;

export const libraryTypes: readonly SurfacePart[] = Object.entries(entryPoints).flatMap(
  ([entry, target]) =>
    typeof target === 'string'
      ? []
      : [
          {
            file: `library${entry.slice(1).replaceAll('/', '-')}.txt`,
            record: () => Promise.resolve(typesOf(join(repository, target.types))),
          },
        ],
);

/** One program for all entry points: loading the types of Node.js is most of the work. */
let program: ts.Program | null = null;

function loaded(): ts.Program {
  const files = Object.values(entryPoints).flatMap((target) =>
    typeof target === 'string' ? [] : [join(repository, target.types)],
  );
  program ??= ts.createProgram(files, {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    noEmit: true,
  });
  return program;
}

function typesOf(path: string): string {
  const checker = loaded().getTypeChecker();
  const source = loaded().getSourceFile(path);
  const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
  if (module === undefined) throw new Error(`${path} is not there, or exports nothing`);
  const exported = new Map(
    checker.getExportsOfModule(module).map((symbol) => [resolved(symbol, checker), symbol.name]),
  );
  const printer = new TypePrinter(checker, exported);
  const texts = [...exported].map(([symbol, name]) => printer.declaration(symbol, name));
  return `${texts.sort().join('\n')}\n`;
}

const resolved = (symbol: ts.Symbol, checker: ts.TypeChecker): ts.Symbol =>
  (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);

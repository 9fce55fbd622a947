/** What clients compile against: messages, fields, enums and services of the .proto files. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { repository } from '../../../scripts/rig/daemon.js';
import type { SurfacePart } from './part.js';

export const protos: SurfacePart = {
  file: 'protos.txt',
  record: async () => {
    const buf = join(repository, 'node_modules/.bin/buf');
    const flags = ['build', 'proto', '--exclude-imports', '--exclude-source-info'];
    const { stdout } = await promisify(execFile)(buf, [...flags, '-o', '-#format=json'], {
      cwd: repository,
    });
    const { file: files } = JSON.parse(stdout) as { readonly file: readonly ProtoFile[] };
    return `${files.flatMap((file) => [...fileLines(file)]).join('\n')}\n`;
  },
};

/** Of a FileDescriptorSet as JSON, what is printed by name. The rest is printed as it is. */
interface ProtoFile extends Rest {
  readonly name: string;
  readonly package: string;
  readonly messageType?: readonly Message[];
  readonly enumType?: readonly Enum[];
  readonly service?: readonly ProtoService[];
}

interface Message extends Rest {
  readonly name: string;
  readonly field?: readonly Rest[];
  readonly nestedType?: readonly Message[];
  readonly enumType?: readonly Enum[];
}

interface Enum extends Rest {
  readonly name: string;
  readonly value: readonly Rest[];
}

interface ProtoService extends Rest {
  readonly name: string;
  readonly method: readonly Rest[];
}

type Rest = Readonly<Record<string, unknown>>;

function* fileLines(file: ProtoFile): Generator<string> {
  const { name, package: scope, messageType = [], enumType = [], service = [], ...rest } = file;
  // Buf's own notes and the order of the files are no part of a proto.
  yield `file ${name}${more({ ...rest, bufExtension: undefined })}`;
  for (const message of messageType) yield* messageLines(message, scope);
  for (const one of enumType) yield* enumLines(one, scope);
  for (const { name: serviceName, method: methods, ...serviceRest } of service) {
    yield `service ${scope}.${serviceName}${more(serviceRest)}`;
    yield* methods.map((method) => `  ${JSON.stringify(method)}`);
  }
}

function* messageLines(message: Message, scope: string): Generator<string> {
  const { name, field = [], nestedType = [], enumType = [], ...rest } = message;
  const path = `${scope}.${name}`;
  yield `message ${path}${more(rest)}`;
  yield* field.map((one) => `  ${JSON.stringify(one)}`);
  for (const nested of nestedType) yield* messageLines(nested, path);
  for (const nested of enumType) yield* enumLines(nested, path);
}

function* enumLines({ name, value, ...rest }: Enum, scope: string): Generator<string> {
  yield `enum ${scope}.${name}${more(rest)}`;
  yield* value.map((one) => `  ${JSON.stringify(one)}`);
}

function more(rest: Rest): string {
  const text = JSON.stringify(rest);
  return text === '{}' ? '' : ` ${text}`;
}

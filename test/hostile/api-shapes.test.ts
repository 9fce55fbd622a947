/**
 * Goal: requests are looked at by the shape they really have. Method: the shapes are compared with
 * the descriptors that reflection serves, field by field.
 */
import { fromBinary } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  type DescriptorProto,
} from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import { fileDescriptors } from '../../src/api/generated/descriptors.js';
import { auditShapes } from '../../src/api/audit/audit-requests.js';
import { requestShapes } from '../../src/api/snapshots/snapshots-requests.js';
import type { MessageShape } from '../../src/api/grpc/strict-requests.js';

const files = fileDescriptors.map((text) =>
  fromBinary(FileDescriptorProtoSchema, Buffer.from(text, 'base64')),
);
const messages = new Map<string, DescriptorProto>();
for (const file of files) {
  const add = (message: DescriptorProto, prefix: string): void => {
    const name = `${prefix}.${message.name}`;
    messages.set(name, message);
    for (const inner of message.nestedType) add(inner, name);
  };
  for (const message of file.messageType) add(message, `.${file.package}`);
}

/** Text fields and messages of a type, as `requestShapes` writes them. */
function shapeOf(type: string): unknown {
  const message = messages.get(type);
  if (message === undefined) throw new Error(`no descriptor of ${type}`);
  const known = message.field.filter(
    ({ type: kind }) => kind === Type.STRING || kind === Type.MESSAGE,
  );
  return Object.fromEntries(
    known.map((field) => [
      field.number,
      field.type === Type.STRING
        ? { name: field.name }
        : { name: field.name, fields: shapeOf(field.typeName) },
    ]),
  );
}

function plain(shape: MessageShape): unknown {
  return Object.fromEntries(
    [...shape].map(([number, { name, fields }]) => [
      number,
      fields === undefined ? { name } : { name, fields: plain(fields) },
    ]),
  );
}

it.each([
  ['Snapshots', requestShapes],
  ['Audit', auditShapes],
])('knows each request of the service %s, with all its text', (serviceName, shapes) => {
  const service = files.flatMap((file) => file.service).find(({ name }) => name === serviceName);
  const methods = service?.method ?? [];
  expect(methods.length).toBeGreaterThan(0);
  const lowerFirst = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1);
  const expected = Object.fromEntries(
    methods.map(({ name, inputType }) => [lowerFirst(name), shapeOf(inputType)]),
  );
  const found = Object.entries(shapes).map(([name, shape]) => [name, plain(shape)]);
  expect(Object.fromEntries(found)).toEqual(expected);
  expect(found).toHaveLength(methods.length);
});

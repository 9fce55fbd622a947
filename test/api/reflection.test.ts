/**
 * Goal: a tool that knows nothing of us finds the services and their messages. Method: the
 * reflection protocol as its clients speak it, and a descriptor read back.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { Client, credentials } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { snapshotsServiceName } from '../../src/api/grpc/health.js';
import { aServer, cleanUp, later } from './rig.js';

afterEach(cleanUp);

/** Asks one question of grpc.reflection.v1; answers the raw reply. */
async function reflect(
  path: string,
  version: string,
  field: number,
  text: string,
): Promise<Uint8Array> {
  const client = new Client(`unix:${path}`, credentials.createInsecure());
  later(() => client.close());
  const call = client.makeBidiStreamRequest<Uint8Array, Uint8Array>(
    `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
    (bytes) => Buffer.from(bytes),
    (bytes) => bytes,
  );
  const request = new BinaryWriter().uint32((field << 3) | 2).string(text);
  return new Promise((resolve, reject) => {
    call.on('error', reject);
    call.on('data', (reply: Uint8Array) => {
      call.end();
      resolve(reply);
    });
    call.write(request.finish());
  });
}

/** All length-delimited fields of a message with one number. */
function fields(bytes: Uint8Array, number: number): Uint8Array[] {
  const reader = new BinaryReader(bytes);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === number) found.push(reader.bytes());
    else reader.skip(type);
  }
  return found;
}

const listServices = 7;
const fileContainingSymbol = 4;

test.each(['v1', 'v1alpha'])('%s lists what is served', async (version) => {
  const rig = await aServer({});
  const reply = await reflect(rig.path, version, listServices, '*');
  const names = fields(reply, 6)
    .flatMap((response) => fields(response, 1))
    .flatMap((service) => fields(service, 1))
    .map((name) => Buffer.from(name).toString());
  expect(names.sort()).toEqual([snapshotsServiceName, 'grpc.health.v1.Health']);
});

test('a service leads to its file and all that the file imports', async () => {
  const rig = await aServer({});
  const reply = await reflect(rig.path, 'v1', fileContainingSymbol, snapshotsServiceName);
  const files = fields(reply, 4)
    .flatMap((response) => fields(response, 1))
    .map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
  const [first] = files;
  expect(first?.service[0]?.method.map((method) => method.name)).toContain('Cleanup');
  expect(first?.messageType.find((type) => type.name === 'Info')?.field.length).toBe(6);
  expect(files.map((file) => file.name)).toEqual(
    expect.arrayContaining(['containerd/types/mount.proto', 'google/protobuf/timestamp.proto']),
  );
});

/**
 * Asks a running containerd for the path of its metadata file. Its list of snapshots is not enough:
 * it omits snapshots that the snapshotter does not have, and has no snapshotter names.
 *
 * Makes one call of containerd.services.introspection.v1.Introspection, and reads the exports of the
 * plugin.
 */
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { Client, credentials } from '@grpc/grpc-js';
import { checkListening } from '../args/daemon-socket.js';

const method = '/containerd.services.introspection.v1.Introspection/Plugins';
const limitMillis = 10_000;
const boltFilter = 'type==io.containerd.metadata.v1,id==bolt';

interface Plugin {
  readonly exports: ReadonlyMap<string, string>;
}

export async function metadataPathOf(socket: string): Promise<string> {
  await checkListening(socket, limitMillis);
  const client = new Client(`unix:${socket}`, credentials.createInsecure());
  try {
    const plugins = await new Promise<readonly Plugin[]>((settle, reject) => {
      client.makeUnaryRequest(
        method,
        (filter: string) => Buffer.from(new BinaryWriter().uint32(10).string(filter).finish()),
        pluginsIn,
        boltFilter,
        { deadline: Date.now() + limitMillis },
        (fault, plugins) => {
          if (fault === null) settle(plugins ?? []);
          else reject(new Error(`cannot query containerd at ${socket}: ${fault.details}`));
        },
      );
    });
    const path = plugins.map((plugin) => plugin.exports.get('path')).find(Boolean);
    if (path !== undefined) return path;
  } finally {
    client.close();
  }
  throw new Error(
    `containerd at ${socket} does not report the path of its metadata; give its meta.db`,
  );
}

function pluginsIn(bytes: Uint8Array): readonly Plugin[] {
  const plugins: Plugin[] = [];
  eachField(bytes, (field, reader) => {
    if (field !== 1) return false;
    plugins.push({ exports: exportsIn(reader.bytes()) });
    return true;
  });
  return plugins;
}

function exportsIn(bytes: Uint8Array): ReadonlyMap<string, string> {
  const exported = new Map<string, string>();
  eachField(bytes, (field, reader) => {
    if (field !== 5) return false;
    const pair = { key: '', value: '' };
    eachField(reader.bytes(), (part, inner) => {
      if (part === 1) pair.key = inner.string();
      else if (part === 2) pair.value = inner.string();
      else return false;
      return true;
    });
    exported.set(pair.key, pair.value);
    return true;
  });
  return exported;
}

/** Skips the fields that the visitor does not read. */
function eachField(
  bytes: Uint8Array,
  visit: (field: number, reader: BinaryReader) => boolean,
): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (!visit(field, reader)) reader.skip(wireType);
  }
}

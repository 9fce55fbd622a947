/**
 * gRPC server reflection, so that grpcurl and its like need no .proto files. The descriptors are
 * part of the program: nothing is looked up beside it.
 *
 * The library brings a parser of .proto files along, which costs a start a tenth of a second and
 * some megabytes, and few daemons are ever asked. So the methods are there from the start, but
 * pass bytes only; what understands them is loaded by the first question.
 */
import { Duplex } from 'node:stream';
import {
  status,
  type MethodDefinition,
  type Server,
  type ServerDuplexStream,
  type UntypedHandleCall,
} from '@grpc/grpc-js';
import { reasonOf } from '../../base/errors.js';

/** Reflection streams end when the client is done; a draining server does not wait for that. */
export const reflectionSubscriptions: readonly string[] = [
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
];

/** A method of the library: how its messages are written, and what answers them. */
interface LoadedMethod {
  readonly definition: MethodDefinition<unknown, unknown>;
  readonly answer: UntypedHandleCall;
}
type Loaded = ReadonlyMap<string, LoadedMethod>;
type Call = ServerDuplexStream<Buffer, Buffer>;

/** Serves reflection for the named services; other descriptors can be asked for, but are not listed. */
export function addReflection(server: Server, services: readonly string[]): void {
  let loading: Promise<Loaded> | null = null;
  for (const path of reflectionSubscriptions) {
    const handle = (call: Call): void => {
      loading ??= load(services);
      loading.then(
        (loaded) => connect(call, loaded.get(path)),
        (thrown: unknown) => {
          loading = null;
          fail(call, status.INTERNAL, `reflection cannot be loaded: ${reasonOf(thrown)}`);
        },
      );
    };
    server.addService(
      { serverReflectionInfo: passingBytes(path) },
      { serverReflectionInfo: handle },
    );
  }
}

const same = (bytes: Buffer): Buffer => bytes;

function passingBytes(path: string): MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

async function load(services: readonly string[]): Promise<Loaded> {
  const [{ ReflectionService }, { fileDescriptors }] = await Promise.all([
    import('@grpc/reflection'),
    import('../generated/descriptors.js'),
  ]);
  const fileDescriptorProtos = fileDescriptors.map((text) => Buffer.from(text, 'base64'));
  const format = 'Protocol Buffer 3 DescriptorProto';
  const service = new ReflectionService(
    { all: { format, type: {}, fileDescriptorProtos } },
    { services: [...services] },
  );
  const loaded = new Map<string, LoadedMethod>();
  service.addToServer({
    addService: (methods, implementation) => {
      for (const [name, definition] of Object.entries(methods)) {
        const answer = implementation[name] ?? implementation[definition.originalName ?? name];
        if (answer !== undefined) loaded.set(definition.path, { definition, answer });
      }
    },
  });
  return loaded;
}

/** Puts the library's handler between the bytes that come and the bytes that go. */
function connect(call: Call, method: LoadedMethod | undefined): void {
  if (method === undefined) {
    fail(call, status.UNIMPLEMENTED, 'this version of reflection is not served');
    return;
  }
  const { definition, answer } = method;
  const messages = new Duplex({
    objectMode: true,
    read: () => undefined,
    write: (message: unknown, _encoding, done) => {
      call.write(definition.responseSerialize(message));
      done();
    },
    final: (done) => {
      call.end();
      done();
    },
  });
  messages.on('error', (fault) => fail(call, status.INTERNAL, fault.message));
  // It asks for no more of a call than to be such a stream of messages.
  (answer as unknown as (stream: Duplex) => void)(messages);
  call.on('data', (bytes: Buffer) => {
    try {
      messages.push(definition.requestDeserialize(bytes));
    } catch (thrown) {
      messages.destroy(thrown instanceof Error ? thrown : new Error(String(thrown)));
    }
  });
  call.on('end', () => messages.push(null));
  call.on('cancelled', () => messages.destroy());
}

function fail(call: Call, code: status, details: string): void {
  call.emit('error', { code, details });
}

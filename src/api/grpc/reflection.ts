/**
 * gRPC server reflection, so that tools such as grpcurl need no .proto files. The descriptors are
 * compiled into the program.
 *
 * The reflection library includes a .proto parser that costs a tenth of a second and several
 * megabytes at startup. The methods are therefore registered with raw bytes, and the library is
 * loaded by the first request.
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

/** Only the client ends a reflection stream; a draining server does not wait for it. */
export const reflectionSubscriptions: readonly string[] = [
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
];

/** A method of the library: its serializers and its handler. */
interface LoadedMethod {
  readonly definition: MethodDefinition<unknown, unknown>;
  readonly handler: UntypedHandleCall;
}
type Loaded = ReadonlyMap<string, LoadedMethod>;
type Call = ServerDuplexStream<Buffer, Buffer>;

/** Lists the named services. Other descriptors can be requested but are not listed. */
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
    server.addService({ serverReflectionInfo: rawMethod(path) }, { serverReflectionInfo: handle });
  }
}

const identity = (bytes: Buffer): Buffer => bytes;

function rawMethod(path: string): MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
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
        const handler = implementation[name] ?? implementation[definition.originalName ?? name];
        if (handler !== undefined) loaded.set(definition.path, { definition, handler });
      }
    },
  });
  return loaded;
}

/** Decodes requests for the library's handler and encodes its responses. */
function connect(call: Call, method: LoadedMethod | undefined): void {
  if (method === undefined) {
    fail(call, status.UNIMPLEMENTED, 'this version of reflection is not served');
    return;
  }
  const { definition, handler } = method;
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
  // The handler uses only the stream interface of a call.
  (handler as unknown as (stream: Duplex) => void)(messages);
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

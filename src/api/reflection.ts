/**
 * gRPC server reflection, so that grpcurl and its like need no .proto files. The descriptors are
 * part of the program: nothing is looked up beside it.
 */
import { ReflectionService } from '@grpc/reflection';
import { fileDescriptors } from './generated/descriptors.js';

/** Reflection for the named services; other descriptors can be asked for but are not listed. */
export function reflectionFor(services: readonly string[]): ReflectionService {
  return new ReflectionService(
    {
      all: {
        format: 'Protocol Buffer 3 DescriptorProto',
        type: {},
        fileDescriptorProtos: fileDescriptors.map((text) => Buffer.from(text, 'base64')),
      },
    },
    { services: [...services] },
  );
}

/** Reflection streams end when the client is done; a draining server does not wait for that. */
export const reflectionSubscriptions: readonly string[] = [
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
];

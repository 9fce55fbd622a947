/**
 * Validates the bytes of a request before they are decoded. The generated code replaces invalid
 * UTF-8 with U+FFFD, which could turn two names into one, and accepts a field that extends past
 * its message. Go's decoder rejects both. The error names the field.
 *
 * Each service defines its own shapes (snapshots-requests.ts, audit-requests.ts).
 */
import { isUtf8 } from 'node:buffer';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** Fields that are text (a name alone) or messages (a name and their own fields), by number. */
export type MessageShape = ReadonlyMap<number, FieldShape>;

export interface FieldShape {
  readonly name: string;
  readonly fields?: MessageShape;
}

export const text = (name: string): FieldShape => ({ name });
export const shape = (...fields: readonly (readonly [number, FieldShape])[]): MessageShape =>
  new Map(fields);

/** Replaces a request that cannot be decoded. `why` is the status message for the client. */
class UnreadableRequest {
  constructor(readonly why: string) {}
}

/** Why a strict service could not decode a request; null for a valid one. */
export function unreadable(request: unknown): string | null {
  return request instanceof UnreadableRequest ? request.why : null;
}

type Definition = Readonly<
  Record<string, { readonly requestDeserialize: (bytes: Buffer) => unknown }>
>;

/** The definition with strict decoding. Handlers must check each request with `unreadable`. */
export function strictService<Service extends Definition>(
  service: Service,
  shapes: Readonly<Record<keyof Service, MessageShape>>,
): Service {
  const strict = Object.entries(service).map(([name, method]) => {
    const fields = shapes[name as keyof Service];
    const requestDeserialize = (bytes: Buffer): unknown => {
      const why = faultIn(bytes, fields);
      return why === null ? method.requestDeserialize(bytes) : new UnreadableRequest(why);
    };
    return [name, { ...method, requestDeserialize }];
  });
  // Sound because handlers call `unreadable` first; the definition's types cannot express that.
  return Object.fromEntries(strict) as Service;
}

/** A status message for an invalid message; null for a valid one. */
function faultIn(bytes: Uint8Array, fields: MessageShape): string | null {
  try {
    const field = invalidTextIn(bytes, fields);
    return field === null
      ? null
      : `the request's field ${field} is not valid UTF-8: invalid argument`;
  } catch {
    // The reader's own errors are about varints, which do not help a client.
    return 'the request is not a valid protobuf message of its type: invalid argument';
  }
}

/** The path of the first text field that is not UTF-8. Throws if the message is malformed. */
function invalidTextIn(bytes: Uint8Array, fields: MessageShape): string | null {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    const field = fields.get(number);
    // As in Go, a known field of another wire type is an unknown field.
    if (field === undefined || wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, number);
      continue;
    }
    const value = reader.bytes();
    if (field.fields === undefined) {
      if (!isUtf8(value)) return field.name;
      continue;
    }
    const inner = invalidTextIn(value, field.fields);
    if (inner !== null) return `${field.name}.${inner}`;
  }
  return null;
}

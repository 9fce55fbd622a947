/**
 * Requests as bytes, looked at before they are decoded. The generated code puts U+FFFD in place
 * of what is not UTF-8, so that two names could become one, and it lets a field reach beyond the
 * message that holds it. Go's decoder refuses both; so do we, and by the field's name.
 *
 * Knows no request in particular; the shapes are their services' (snapshots-requests.ts,
 * audit-requests.ts). Decodes nothing itself.
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

/** Stands in place of a request that cannot be read. `why` is for the client. */
class UnreadableRequest {
  constructor(readonly why: string) {}
}

/** Why a request that a strict service has decoded cannot be read; null when it can. */
export function unreadable(request: unknown): string | null {
  return request instanceof UnreadableRequest ? request.why : null;
}

/** Of a service's definition, what is needed here. */
type Definition = Readonly<
  Record<string, { readonly requestDeserialize: (bytes: Buffer) => unknown }>
>;

/** The definition; what cannot be read comes out as a request that `unreadable` knows. */
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
  // The handlers ask `unreadable` first, which the types of the definition cannot say.
  return Object.fromEntries(strict) as Service;
}

/** What is wrong with the bytes of a message, as a status message; null when nothing is. */
function faultIn(bytes: Uint8Array, fields: MessageShape): string | null {
  try {
    const field = textThatIsNone(bytes, fields);
    return field === null
      ? null
      : `the request's field ${field} is not valid UTF-8: invalid argument`;
  } catch {
    // The reader throws plain errors, with words about varints that help no client.
    return 'the request is not a whole protobuf message of its type: invalid argument';
  }
}

/** The path of the first text field that is not UTF-8. Throws when fields do not fit. */
function textThatIsNone(bytes: Uint8Array, fields: MessageShape): string | null {
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
    const inner = textThatIsNone(value, field.fields);
    if (inner !== null) return `${field.name}.${inner}`;
  }
  return null;
}

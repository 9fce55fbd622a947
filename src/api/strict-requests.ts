/**
 * Requests as bytes, looked at before they are decoded. The generated code puts U+FFFD in place
 * of what is not UTF-8, so that two names could become one, and it lets a field reach beyond the
 * message that holds it. Go's decoder refuses both; so do we, and by the field's name.
 *
 * Knows the shape of the requests; decodes nothing itself. A test compares the shapes with the
 * descriptors. The definition that is made here also has List written by list-wire.ts.
 */
import { isUtf8 } from 'node:buffer';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { SnapshotsService } from './generated/containerd/services/snapshots/v1/snapshots.js';
import { serializeList } from './list-wire.js';

/** Fields that are text (a name alone) or messages (a name and their own fields), by number. */
export type MessageShape = ReadonlyMap<number, FieldShape>;

interface FieldShape {
  readonly name: string;
  readonly fields?: MessageShape;
}

const text = (name: string): FieldShape => ({ name });
const shape = (...fields: readonly (readonly [number, FieldShape])[]): MessageShape =>
  new Map(fields);

const labels: FieldShape = { name: 'labels', fields: shape([1, text('key')], [2, text('value')]) };
const named = shape([1, text('snapshotter')], [2, text('key')]);
const prepared = shape(...named, [3, text('parent')], [4, labels]);
const time = shape();
const info = shape(
  [1, text('name')],
  [2, text('parent')],
  [4, { name: 'created_at', fields: time }],
  [5, { name: 'updated_at', fields: time }],
  [6, labels],
);

/** By method. */
export const requestShapes: Readonly<Record<keyof typeof SnapshotsService, MessageShape>> = {
  prepare: prepared,
  view: prepared,
  mounts: named,
  commit: shape(
    [1, text('snapshotter')],
    [2, text('name')],
    [3, text('key')],
    [4, labels],
    [5, text('parent')],
  ),
  remove: named,
  stat: named,
  update: shape(
    [1, text('snapshotter')],
    [2, { name: 'info', fields: info }],
    [3, { name: 'update_mask', fields: shape([1, text('paths')]) }],
  ),
  list: shape([1, text('snapshotter')], [2, text('filters')]),
  usage: named,
  cleanup: shape([1, text('snapshotter')]),
};

/** Stands in place of a request that cannot be read. `why` is for the client. */
class UnreadableRequest {
  constructor(readonly why: string) {}
}

/** Why a request that `strictSnapshotsService` has decoded cannot be read; null when it can. */
export function unreadable(request: unknown): string | null {
  return request instanceof UnreadableRequest ? request.why : null;
}

type Service = typeof SnapshotsService;

/** The service's definition; what cannot be read comes out as a request that `unreadable` knows. */
export const strictSnapshotsService: Service = Object.fromEntries(
  Object.entries(SnapshotsService).map(([name, method]) => {
    const fields = requestShapes[name as keyof Service];
    const requestDeserialize = (bytes: Buffer): unknown => {
      const why = faultIn(bytes, fields);
      return why === null ? method.requestDeserialize(bytes) : new UnreadableRequest(why);
    };
    const quick = name === 'list' ? { responseSerialize: serializeList } : {};
    return [name, { ...method, ...quick, requestDeserialize }];
  }),
  // The handlers ask `unreadable` first, which the types of the definition cannot say.
) as unknown as Service;

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

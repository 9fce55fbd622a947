/**
 * Reasons for NOT_SERVING, as metadata of the health service's replies, whose messages have no
 * field for text. Other clients ignore the metadata.
 */
import { Metadata } from '@grpc/grpc-js';
import * as z from 'zod';

export interface HealthReason {
  readonly reason: string;
  /** Names of the health service. */
  readonly affects: readonly string[];
}

/** A JSON list of HealthReason in UTF-8. Absent when healthy. */
const KEY = 'stratalog-reasons-bin';
/** Clients limit the total size of a reply's metadata. */
const BYTES_MAX = 4096;

const reasonsSchema = z.array(z.object({ reason: z.string(), affects: z.array(z.string()) }));

/** Drops reasons from the end until the rest fits. */
export function withReasons(reasons: readonly HealthReason[]): Metadata {
  const metadata = new Metadata();
  for (let count = reasons.length; count > 0; count -= 1) {
    const encoded = Buffer.from(JSON.stringify(reasons.slice(0, count)));
    if (encoded.length > BYTES_MAX) continue;
    metadata.set(KEY, encoded);
    break;
  }
  return metadata;
}

/** Empty if there are no reasons or they cannot be parsed. */
export function reasonsIn(metadata: Metadata): readonly HealthReason[] {
  const [value] = metadata.get(KEY);
  if (!Buffer.isBuffer(value)) return [];
  try {
    return reasonsSchema.parse(JSON.parse(value.toString('utf8')));
  } catch {
    return [];
  }
}

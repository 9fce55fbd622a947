/**
 * Why something does not serve, as metadata of the health service's replies: its messages have no
 * room for text. Clients that do not know it see the standard service.
 */
import { Metadata } from '@grpc/grpc-js';
import * as z from 'zod';

export interface HealthReason {
  readonly reason: string;
  /** Names of the health service. */
  readonly affects: readonly string[];
}

/** A JSON list of HealthReason in UTF-8. Absent while all is well. */
const KEY = 'stratalog-reasons-bin';
/** Clients bound the size of all metadata of a reply. */
const BYTES_MAX = 4096;

const reasonsSchema = z.array(z.object({ reason: z.string(), affects: z.array(z.string()) }));

/** Those that come last are left out when all are too long. */
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

/** Empty when there are none, and when they are not as written here. */
export function reasonsIn(metadata: Metadata): readonly HealthReason[] {
  const [value] = metadata.get(KEY);
  if (!Buffer.isBuffer(value)) return [];
  try {
    return reasonsSchema.parse(JSON.parse(value.toString('utf8')));
  } catch {
    return [];
  }
}

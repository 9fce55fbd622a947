/**
 * Directories that `stratalog gc` asks a running daemon to delete. containerd's Cleanup request has
 * no field for them, so they are sent as metadata of the call.
 */
import { Metadata } from '@grpc/grpc-js';

/** Binary, because a name may contain any byte except `/` and NUL. Names are joined by `/`. */
const header = 'stratalog-delete-directories-bin';

/** Well below a server's header limit (16 KiB by default). */
const bytesMax = 4096;

/** The metadata of each call to make; one call without metadata if there are no names. */
export function deletionRequests(names: Iterable<string>): readonly Metadata[] {
  const requests: string[][] = [[]];
  let bytes = 0;
  for (const name of names) {
    const length = Buffer.byteLength(name) + 1;
    if (bytes > 0 && bytes + length > bytesMax) {
      requests.push([]);
      bytes = 0;
    }
    requests.at(-1)?.push(name);
    bytes += length;
  }
  return requests.map((request) => {
    const metadata = new Metadata();
    if (request.length > 0) metadata.set(header, Buffer.from(request.join('/')));
    return metadata;
  });
}

export function requestedDeletions(metadata: Metadata): readonly string[] {
  return metadata
    .get(header)
    .flatMap((value) => Buffer.from(value).toString().split('/'))
    .filter((name) => name !== '');
}

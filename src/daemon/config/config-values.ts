/** Settings that are strings in the file: durations, sizes, permission bits, addresses. */
import { dirname } from 'node:path';
import * as z from 'zod';
import { isUtf8, socketPathBytesMax, whyNoRootPath } from '../../base/paths.js';

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

/** Milliseconds of "10s", "1m30s", "500ms", "1.5h", "90d"; null if the text is not a duration. */
export function parseDuration(text: string): number | null {
  return sumOfParts(text, /(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy, durationUnits);
}

/** Bytes of "64MiB", "512KiB"; null if the text is not a size. "64M" is ambiguous, so rejected. */
export function parseSize(text: string): number | null {
  return sumOfParts(text, /(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)/gy, sizeUnits);
}

function sumOfParts(
  text: string,
  part: RegExp,
  units: Readonly<Record<string, number>>,
): number | null {
  let total = 0;
  let end = 0;
  for (const match of text.matchAll(part)) {
    total += Number(match[1]) * (units[match[2] ?? ''] ?? NaN);
    end = match.index + match[0].length;
  }
  const whole = end > 0 && end === text.length && Number.isSafeInteger(Math.round(total));
  return whole ? Math.round(total) : null;
}

/** In milliseconds. At most 24 days by default: setTimeout turns a longer time into 1 ms. */
export const duration = (least = '1ms', most = '24d'): z.ZodType<number, string> =>
  text(
    'a duration such as "10s" or "1m30s"',
    (value) => parseDuration(value),
    [least, parseDuration(least) ?? 0],
    [most, parseDuration(most) ?? 0],
  );

export const size = (least: string, most: string): z.ZodType<number, string> =>
  text(
    'a size such as "64MiB"',
    parseSize,
    [least, parseSize(least) ?? 0],
    [most, parseSize(most) ?? 0],
  );

/** Permission bits as four octal digits in quotes: a bare 600 would be decimal in TOML. */
export const permissions = (): z.ZodType<number, string> =>
  z
    .string({ error: 'expected four octal digits in quotes, such as "0600"' })
    .regex(/^0[0-7]{3}$/, { error: 'expected four octal digits in quotes, such as "0600"' })
    .transform((value) => parseInt(value, 8));

const absolute = (): z.ZodString =>
  z.string().regex(/^\/./, { error: 'expected an absolute path' });

const invalidBytes = { error: 'a path must be valid UTF-8 without NUL bytes' };
const hasValidBytes = (path: string): boolean => !path.includes('\0') && isUtf8(path);

export const rootPath = (): z.ZodType<string, string> =>
  absolute()
    .refine(hasValidBytes, invalidBytes)
    .superRefine((path, context) => {
      const why = whyNoRootPath(path);
      if (why !== null) context.addIssue(why);
    });

export const socketPath = (): z.ZodType<string, string> =>
  absolute().refine(hasValidBytes, invalidBytes).refine(fitsSocket, tooLongForSocket);

/** The socket is first bound under a temporary name of seven characters, see unix-socket.ts. */
const fitsSocket = (path: string): boolean =>
  Math.max(Buffer.byteLength(path), Buffer.byteLength(dirname(path)) + 8) <= socketPathBytesMax;
const tooLongForSocket = {
  error: `too long: the path of a unix socket has at most ${socketPathBytesMax} bytes`,
};

/** An absolute path; "" is none. */
export const optionalPath = (): z.ZodType<string | null, string> =>
  optional().transform((path) => (path === '' ? null : path));

/** The path of a unix socket; "" is none. */
export const optionalSocketPath = (): z.ZodType<string | null, string> =>
  optional()
    .refine(fitsSocket, tooLongForSocket)
    .transform((path) => (path === '' ? null : path));

const optional = (): z.ZodString =>
  z
    .string()
    .regex(/^(\/.+)?$/, { error: 'expected an absolute path, or "" for none' })
    .refine(hasValidBytes, invalidBytes);

export type HttpAddress =
  { readonly path: string } | { readonly host: string; readonly port: number };

/** `127.0.0.1:9464`, `[::1]:9464` or `/run/x.sock`; "" is none. */
export const httpAddress = (): z.ZodType<HttpAddress | null, string> =>
  z.string().transform((value, context) => {
    if (value === '') return null;
    const address = parseHttpAddress(value);
    if (address !== null && 'path' in address && !fitsSocket(value)) {
      context.addIssue(tooLongForSocket.error);
      return z.NEVER;
    }
    if (address !== null && 'path' in address && !hasValidBytes(value)) {
      context.addIssue(invalidBytes.error);
      return z.NEVER;
    }
    if (address !== null) return address;
    context.addIssue('expected "host:port" or the absolute path of a unix socket, or "" for none');
    return z.NEVER;
  });

/** Null if the text is neither `host:port` nor an absolute path. */
export function parseHttpAddress(value: string): HttpAddress | null {
  if (value.startsWith('/')) return value.includes('\0') ? null : { path: value };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/\s]+)):(\d{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  return host !== undefined && port <= 65535 ? { host, port } : null;
}

function text(
  expected: string,
  parse: (value: string) => number | null,
  [leastText, least]: readonly [string, number],
  [mostText, most]: readonly [string, number],
): z.ZodType<number, string> {
  return z.string({ error: `expected ${expected}, in quotes` }).transform((value, context) => {
    const parsed = parse(value);
    if (parsed !== null && parsed >= least && parsed <= most) return parsed;
    context.addIssue(
      parsed === null
        ? `expected ${expected}`
        : `expected ${expected}, from ${leastText} to ${mostText}`,
    );
    return z.NEVER;
  });
}

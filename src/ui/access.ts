/**
 * Who is answered. The page shows what strangers put into images and what ran on a node, so the
 * server answers nobody but the person who was shown the link: a name that was bent to this address
 * (DNS rebinding), another page in the same browser, and another user of the machine are refused.
 */
import { createHash, timingSafeEqual } from 'node:crypto';

export interface AccessRules {
  readonly token: string;
  /** `Host` headers that mean this server, in lower case. */
  readonly hosts: ReadonlySet<string>;
  /** For an address of all interfaces: any address in figures, with this port. */
  readonly anyAddressWithPort: number | null;
  readonly cookieName: string;
}

export interface Asked {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** `Sec-Fetch-Site`; browsers send it, other programs do not. */
  readonly site: string | undefined;
  readonly cookie: string | undefined;
  readonly tokenInUrl: string | null;
  /** Whether the page itself is asked for, which a link from anywhere may do. */
  readonly isPage: boolean;
}

export interface Refusal {
  readonly code: 400 | 401 | 403 | 405;
  readonly error: string;
}

/** Null when the request is answered. */
export function refusalFor(asked: Asked, rules: AccessRules): Refusal | null {
  const host = asked.host?.toLowerCase();
  if (host === undefined || !isOurs(host, rules)) {
    return { code: 403, error: 'the Host header is not the address that is listened on' };
  }
  if (asked.origin !== undefined && asked.origin.toLowerCase() !== `http://${host}`) {
    return { code: 403, error: 'another origin asks; only the page itself is answered' };
  }
  const isFromElsewhere = asked.site !== undefined && !['same-origin', 'none'].includes(asked.site);
  if (isFromElsewhere && !asked.isPage) {
    return { code: 403, error: 'another site asks; only the page itself is answered' };
  }
  if (asked.method !== 'GET') return { code: 405, error: 'only GET is answered' };
  const isKnown =
    isSame(asked.tokenInUrl, rules.token) ||
    cookiesIn(asked.cookie).some(
      ([name, value]) => name === rules.cookieName && isSame(value, rules.token),
    );
  if (isKnown) return null;
  return {
    code: 401,
    error:
      'open the link that `stratalog ui` printed: its token is missing here, or is of another run',
  };
}

function isOurs(host: string, { hosts, anyAddressWithPort }: AccessRules): boolean {
  if (hosts.has(host)) return true;
  if (anyAddressWithPort === null) return false;
  return new RegExp(`^(\\d{1,3}(\\.\\d{1,3}){3}|\\[[0-9a-f:.]+\\]):${anyAddressWithPort}$`).test(
    host,
  );
}

/** Takes as long whatever is wrong with it. */
function isSame(given: string | null, expected: string): boolean {
  if (given === null) return false;
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

function cookiesIn(header: string | undefined): readonly (readonly [string, string])[] {
  return (header ?? '').split(';').map((part) => {
    const [name = '', value = ''] = part.split('=', 2);
    return [name.trim(), value.trim()];
  });
}

export const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

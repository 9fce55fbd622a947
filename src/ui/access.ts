/**
 * Access control. The page shows untrusted text from images and what ran on the node, so the server
 * answers only the person with the link. It refuses DNS rebinding, other pages in the same browser,
 * and other users of the machine.
 */
import { createHash, timingSafeEqual } from 'node:crypto';

export interface AccessRules {
  readonly token: string;
  /** Accepted `Host` headers, in lower case. */
  readonly hosts: ReadonlySet<string>;
  /** When listening on all interfaces: accept any numeric address with this port. */
  readonly anyAddressWithPort: number | null;
  readonly cookieName: string;
}

export interface AccessRequest {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** `Sec-Fetch-Site`, which only browsers send. */
  readonly site: string | undefined;
  readonly cookie: string | undefined;
  readonly tokenInUrl: string | null;
  /** A request for the page itself, which may come from a link on another site. */
  readonly isPage: boolean;
}

export interface Refusal {
  readonly code: 400 | 401 | 403 | 405;
  readonly error: string;
}

/** Null if access is granted. */
export function refusalFor(request: AccessRequest, rules: AccessRules): Refusal | null {
  const host = request.host?.toLowerCase();
  if (host === undefined || !isOurs(host, rules)) {
    return { code: 403, error: 'the Host header does not match the listen address' };
  }
  if (request.origin !== undefined && request.origin.toLowerCase() !== `http://${host}`) {
    return { code: 403, error: 'cross-origin request refused' };
  }
  const isCrossSite = request.site !== undefined && !['same-origin', 'none'].includes(request.site);
  if (isCrossSite && !request.isPage) {
    return { code: 403, error: 'cross-site request refused' };
  }
  if (request.method !== 'GET') return { code: 405, error: 'method not allowed: only GET' };
  const hasToken =
    isSame(request.tokenInUrl, rules.token) ||
    cookiesIn(request.cookie).some(
      ([name, value]) => name === rules.cookieName && isSame(value, rules.token),
    );
  if (hasToken) return null;
  return {
    code: 401,
    error:
      'the token is missing or from an earlier run: open the link that `stratalog ui` has printed',
  };
}

function isOurs(host: string, { hosts, anyAddressWithPort }: AccessRules): boolean {
  if (hosts.has(host)) return true;
  if (anyAddressWithPort === null) return false;
  return new RegExp(`^(\\d{1,3}(\\.\\d{1,3}){3}|\\[[0-9a-f:.]+\\]):${anyAddressWithPort}$`).test(
    host,
  );
}

/** Compares in constant time. */
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

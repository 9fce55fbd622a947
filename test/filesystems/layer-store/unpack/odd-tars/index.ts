/**
 * Archives of every kind that is met in layers, and some that only an enemy writes. Each is
 * unpacked by containerd and by us; `containerd` says what containerd is known to do, so that a
 * comparison in which both sides fail is noticed.
 */
import { attributes } from './attributes.js';
import { ends } from './ends.js';
import { headers } from './headers.js';
import type { OddTar } from './kit.js';
import { links, parents } from './links.js';
import { metadata } from './metadata.js';
import { names } from './names.js';
import { paxHeaders } from './pax-headers.js';
import { sparse } from './sparse.js';
import { duplicates, whiteouts } from './whiteouts.js';

export const oddTars: readonly OddTar[] = [
  ...headers,
  ...names,
  ...paxHeaders,
  ...ends,
  ...attributes,
  ...links,
  ...parents,
  ...whiteouts,
  ...duplicates,
  ...metadata,
  ...sparse,
];

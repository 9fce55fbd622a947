/** Goal: whoever meets a finding or a refusal finds it explained. Method: the page is read. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { EventFindingKind } from '../../src/inspect/archive/check-events.js';
import type { FindingKind } from '../../src/inspect/startup/findings.js';
import type { RootRefusal } from '../../src/log/errors.js';
import { SEVERITY } from '../../src/log/verify/findings.js';

const page = readFileSync(new URL('../../docs/recovery.md', import.meta.url), 'utf8');

// Typed so that a new kind does not compile before it is named here.
const findings: Record<FindingKind, true> = {
  AbandonedPreparation: true,
  UnfinishedCommit: true,
  UnfinishedRemoval: true,
  AwaitingCleanup: true,
  MissingDirectory: true,
  HiddenDirectory: true,
  MissingMount: true,
  MissingIdmappedMount: true,
  UnneededIdmappedMount: true,
  UnavailableLayer: true,
  OrphanDirectory: true,
  PreallocatedDirectories: true,
  LogOlderThanDirectories: true,
  ForeignEntry: true,
  UncheckedDirectory: true,
  KeptDirectories: true,
  ReleasedDirectories: true,
  ForeignMount: true,
  MountElsewhere: true,
  HiddenMounts: true,
};
const refusals: Record<RootRefusal, true> = {
  'not-initialised': true,
  'log-missing': true,
  'file-system-changed': true,
  'file-system-missing': true,
  'identity-damaged': true,
  'lock-unusable': true,
  'no-usable-checkpoint': true,
};
const ofEvents: Record<EventFindingKind, true> = {
  'event-newer': true,
  'event-malformed': true,
  'event-impossible': true,
  'checkpoint-differs': true,
};

const sections = new Map(
  page
    .split(/^(?=#{2,3} )/m)
    .map((text) => [/^#+ (.*)\n/.exec(text)?.[1] ?? '', text.slice(text.indexOf('\n'))]),
);

it.each(Object.keys(findings))('explains the finding %s in all respects', (kind) => {
  const text = sections.get(kind) ?? '';
  for (const respect of ['**Means**', '**Done:**', '**Lost:**', '**You']) {
    expect(text).toContain(respect);
  }
});

it.each(Object.keys(refusals))('explains the refusal %s', (reason) => {
  expect((sections.get(reason) ?? '').length).toBeGreaterThan(150);
});

it('lists what verify finds, with its severity', () => {
  const rows = [...page.matchAll(/^\| `([a-z-]+)` +\| (damage|warning|info) +\|/gm)];
  const listed = new Map(rows.map(([, kind = '', severity = '']) => [kind, severity]));
  const damage = Object.keys(ofEvents).map((kind): [string, string] => [kind, 'damage']);
  expect(listed).toEqual(new Map([...Object.entries(SEVERITY), ...damage]));
});

it('links only to sections that exist', () => {
  const anchors = new Set(
    [...sections.keys()].map((title) =>
      title
        .toLowerCase()
        .replaceAll(' ', '-')
        .replaceAll(/[^\w-]/g, ''),
    ),
  );
  for (const [, anchor = ''] of page.matchAll(/\]\(#([^)]+)\)/g)) {
    expect(anchors, anchor).toContain(anchor);
  }
});

it('never asks for a delete', () => {
  expect(page).not.toMatch(/rm -rf|rm -r\b/);
});

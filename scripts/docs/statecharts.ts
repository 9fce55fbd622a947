/** docs/reference/statecharts.md: the statecharts as the program has them, drawn from their definitions. */
import { defaultPolicies } from '../../src/effects/policies.js';
import { slotMachine } from '../../src/effects/slot-machine.js';
import { supervisorMachine } from '../../src/effects/supervisor-machine.js';
import { chartMermaid } from '../../src/inspect/chart/chart-mermaid.js';
import { snapshotDefinition, type ChartDefinition } from '../../src/inspect/chart/chart-outline.js';
import { metaOf, STATUSES, type Status } from '../../src/machines/transition-table.js';
import type { StateEffect } from '../../src/machines/snapshot-machine.js';
import { code, fenced, heading, table } from './markdown.js';

/** Said by hand: what an effect does, which only its code knows. */
const EFFECTS: Readonly<Record<StateEffect, string>> = {
  prepareDirectories: 'makes the directories',
  mapLayerIds: 'mounts the layers below with mapped ids',
  mountRemote: 'asks the remote file system to mount the layer, and checks it',
  makeDurable: 'measures usage and makes contents durable',
  restoreLayer: 'checks the layer, and mounts it again where it must, at the time in the log',
  removeDirectories: 'unmounts a remote layer and deletes the directories',
};

const SHOWN: Readonly<Record<'active' | 'view' | 'committed', string>> = {
  active: 'an active snapshot',
  view: 'a view',
  committed: 'a committed snapshot',
};

export function statecharts(): string {
  const slot = slotMachine.definition as unknown as ChartDefinition;
  const supervisor = supervisorMachine.definition as unknown as ChartDefinition;
  return [
    heading('Statecharts', 'src/machines/snapshot-machine.ts and src/effects'),
    'A machine moves only on an event that is in the log; the arrows bear the names of those',
    'events ([events.md](events.md)). A word in brackets is a guard: a condition on what is known.',
    '',
    '## A snapshot',
    '',
    fenced('mermaid', chartMermaid(snapshotDefinition)),
    '',
    'The effect of a state runs while a snapshot is in it, and runs again after a restart.',
    '*Accepted*: it starts as soon as the event that led here is in line to be written. *Durable*:',
    'not before that event is on disk, because the effect destroys, or outlives a crash.',
    '',
    table(
      [
        'state',
        'clients see',
        'its name is',
        'effect',
        'starts once the event is',
        'after a crash',
      ],
      STATUSES.map(row),
    ),
    '',
    '## How effects are run',
    '',
    'Each kind of effect has slots: long-lived actors, as many as may run at once',
    '(`src/effects/slot-machine.ts`). A slot runs one attempt after another. An attempt that passes',
    'its time limit is reported and aborted; its slot is free again only when the work has ended.',
    '',
    fenced('mermaid', chartMermaid(slot)),
    '',
    'Between attempts an effect backs off and holds no slot. After its last attempt it fails, and',
    'the requester decides what follows. The limits (`src/effects/policies.ts`):',
    '',
    table(
      [
        'effect',
        'at once',
        'time limit',
        'waits for a slot',
        'retries',
        'first wait',
        'longest wait',
      ],
      Object.entries(defaultPolicies).map(([effect, policy]) => [
        code(effect),
        String(policy.concurrency),
        duration(policy.timeLimitMillis),
        waiting(policy.waitLimitMillis),
        String(policy.retries),
        duration(policy.backoffMillis),
        duration(policy.backoffMillisMax),
      ]),
    ),
    '',
    '## The supervisor',
    '',
    'The supervisor starts the slots and replaces one that crashes, one for one. Failures that come',
    'too fast make it `degraded`, which health and metrics report; it stops nothing.',
    '',
    fenced('mermaid', chartMermaid(supervisor)),
    '',
  ].join('\n');
}

function row(status: Status): readonly string[] {
  const { shownAs, holdsName, effect, afterCrash } = metaOf(status);
  return [
    code(status),
    shownAs === null ? 'nothing' : SHOWN[shownAs],
    holdsName ? 'taken' : 'free',
    effect === undefined ? '–' : `${code(effect.name)}: ${EFFECTS[effect.name]}`,
    effect === undefined ? '–' : effect.onceEventIs,
    crashMeaning(status, effect !== undefined, afterCrash),
  ];
}

function crashMeaning(status: Status, hasEffect: boolean, afterCrash: string | undefined): string {
  if (afterCrash !== undefined) return `given up: ${code(afterCrash)} is recorded`;
  if (status === 'absent' || status === 'removed') return 'nothing is there';
  return hasEffect ? 'the effect runs again' : 'stays as it is';
}

function waiting(limitMillis: number | null): string {
  return limitMillis === null ? 'as long as it takes' : duration(limitMillis);
}

function duration(millis: number): string {
  if (millis === 0) return '–';
  return millis % 60_000 === 0 ? `${millis / 60_000} min` : `${millis / 1000} s`;
}

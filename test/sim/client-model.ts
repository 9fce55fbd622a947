/**
 * What the clients may rely on, from the answers they got alone; the log is not asked. A name is
 * known to be something, known to be absent, or, after a call that met another or had no answer,
 * unknown until somebody looks.
 */
import type { Labels } from '../../src/base/units.js';
import { updatedLabels } from '../../src/machines/label-update.js';
import type { SnapshotInfo } from '../../src/machines/snapshots/info.js';
import { storedLabels, UID_MAPPING_LABEL } from '../../src/machines/labels.js';
import { KEYS, NAMES, type Call, type Outcome } from './calls.js';
import type { ClientName } from './sim-clients.js';

export interface Known {
  readonly kind: SnapshotInfo['kind'];
  readonly parent: string;
  readonly labels: Labels;
  /** Null when that is not known. */
  readonly maker: ClientName | null;
}

type Fact = Known | 'absent' | 'unknown';

/** A call under way, as far as it concerns names. */
interface Touch {
  readonly call: Call;
  readonly client: ClientName;
  /** Which clients ran when it began; null where the daemon need not have known. */
  readonly runs: ReadonlyMap<ClientName, boolean | null>;
  readonly changes: readonly string[];
  readonly reads: readonly string[];
  /** Whether another call under way, or a client that ended, might have changed what this one found. */
  isContended: boolean;
}

export class ClientModel {
  readonly #facts = new Map<string, Fact>();
  readonly #touches = new Map<string, Touch>();
  /** Calls that had no answer: what they began goes on behind the client's back. */
  #lingering: Touch[] = [];

  constructor() {
    for (const name of [...KEYS, ...NAMES]) this.#facts.set(name, 'absent');
  }

  begin(tag: string, call: Call, client: ClientName, runs: Touch['runs']): void {
    const touch: Touch = { call, client, runs, ...namesOf(call), isContended: false };
    for (const other of this.#all()) {
      const meets = touch.changes.some((name) => concerns(other, name));
      const isMet = other.changes.some((name) => concerns(touch, name));
      if (meets || isMet) touch.isContended = other.isContended = true;
    }
    this.#touches.set(tag, touch);
  }

  /** Takes in an answer; says what is wrong with it, or null. */
  end(tag: string, outcome: Outcome): string | null {
    const touch = this.#touches.get(tag);
    this.#touches.delete(tag);
    if (touch === undefined) return null;
    const wrong = touch.isContended ? null : this.#judge(touch, outcome);
    this.#learn(touch, outcome);
    if (outcome.kind === 'threw') this.#lingering.push(touch);
    return wrong === null ? null : `${describeCall(touch.call)}: ${wrong}`;
  }

  /** The daemon died: what was under way may have happened or not. */
  loseAll(): void {
    for (const { changes } of this.#all()) for (const name of changes) this.#forget(name);
    this.#touches.clear();
    this.#lingering = [];
  }

  /** A client has ended or was started: what is under way may have been decided before or after. */
  clientsChanged(): void {
    for (const touch of this.#all()) touch.isContended = true;
  }

  /** Nothing goes on any more, behind nobody's back. */
  calm(): void {
    for (const { changes } of this.#lingering) for (const name of changes) this.#forget(name);
    this.#lingering = [];
  }

  /** Compares with what Stat says of a name that nobody is changing; learns what was unknown. */
  look(name: string, found: SnapshotInfo | null): string | null {
    if (this.#all().some(({ changes }) => changes.includes(name))) return null;
    const fact = this.#factOf(name);
    const seen: Fact =
      found === null
        ? 'absent'
        : { kind: found.kind, parent: found.parent, labels: found.labels, maker: null };
    if (fact === 'unknown') {
      if (this.#facts.has(name)) this.#facts.set(name, seen);
      return null;
    }
    return describe(fact) === describe(seen)
      ? null
      : `${name} should be ${describe(fact)}, and is ${describe(seen)}`;
  }

  #all(): readonly Touch[] {
    return [...this.#touches.values(), ...this.#lingering];
  }

  #factOf(name: string): Fact {
    return this.#facts.get(name) ?? 'unknown';
  }

  #judge(touch: Touch, outcome: Outcome): string | null {
    if (outcome.kind === 'threw') return null;
    const got = outcome.kind === 'ok' ? 'ok' : outcome.refusal.name;
    const possible = this.#possible(touch);
    return possible === null || possible.includes(got)
      ? null
      : `answered ${got} instead of ${possible.join(' or ')}`;
  }

  /** The answers that are right for a call, from what is known; null when too little is. */
  #possible(touch: Touch): readonly string[] | null {
    const { call, client } = touch;
    const changed = changedBy(call);
    const fact = changed === null ? 'absent' : this.#factOf(changed);
    if (typeof fact !== 'object' || fact.maker === client) {
      return this.#possibleForMaker(touch);
    }
    const runs = fact.maker === null ? null : touch.runs.get(fact.maker);
    if (runs === true) return ['KeptFromCaller'];
    const possible = this.#possibleForMaker(touch);
    // Where it is mounted may be impossible to find out.
    const mayBeKept = runs === null || call.kind === 'Remove';
    return possible && mayBeKept ? [...possible, 'KeptFromCaller'] : possible;
  }

  /** Names of the other client are kept, not merely in use. */
  #nameInUse({ maker }: Known, { client, runs: running }: Touch): readonly string[] {
    if (maker === client) return ['NameInUse'];
    const runs = maker === null ? null : running.get(maker);
    if (runs === null) return ['NameInUse', 'KeptFromCaller'];
    return [runs ? 'KeptFromCaller' : 'NameInUse'];
  }

  #possibleForMaker(touch: Touch): readonly string[] | null {
    const { call } = touch;
    switch (call.kind) {
      case 'Prepare':
      case 'View': {
        const key = this.#factOf(call.key);
        const parent = call.parent === null ? null : this.#factOf(call.parent);
        if (parent === 'unknown' || key === 'unknown') return null;
        if (parent === 'absent') return ['ParentUnknown'];
        if (parent !== null && parent.kind !== 'committed') return ['ParentNotCommitted'];
        if (key !== 'absent') return this.#nameInUse(key, touch);
        const mayHave = call.labels.has(UID_MAPPING_LABEL) ? ['MappedOtherwise'] : [];
        return ['ok', 'TargetReady', 'LayerNotAvailable', 'LayerNotVisible', ...mayHave];
      }
      case 'Commit': {
        const key = this.#factOf(call.key);
        const name = this.#factOf(call.name);
        if (key === 'unknown' || name === 'unknown') return null;
        if (key === 'absent') return ['SnapshotUnknown'];
        if (name !== 'absent') return this.#nameInUse(name, touch);
        return key.kind === 'active' ? ['ok'] : ['NotActive'];
      }
      case 'Remove': {
        const fact = this.#factOf(call.name);
        if (fact === 'unknown') return null;
        if (fact === 'absent') return ['SnapshotUnknown'];
        const hasChild = [...this.#facts.values()].some(
          (other) => typeof other === 'object' && other.parent === call.name,
        );
        return hasChild ? ['HasChildren'] : ['ok', 'HasChildren'];
      }
      case 'Update': {
        const fact = this.#factOf(call.name);
        if (fact === 'unknown') return null;
        return fact === 'absent' ? ['SnapshotUnknown'] : ['ok'];
      }
      case 'Mounts': {
        const fact = this.#factOf(call.name);
        if (fact === 'unknown') return null;
        if (fact === 'absent') return ['SnapshotUnknown'];
        return fact.kind === 'committed'
          ? ['NotMountable']
          : ['ok', 'LayerNotAvailable', 'LayerNotVisible'];
      }
      case 'Stat':
      case 'Usage': {
        const fact = this.#factOf(call.name);
        if (fact === 'unknown') return null;
        return fact === 'absent' ? ['SnapshotUnknown'] : ['ok'];
      }
      case 'List':
      case 'Cleanup':
        return ['ok'];
    }
  }

  #learn({ call, client, changes, isContended }: Touch, outcome: Outcome): void {
    if (isContended || outcome.kind === 'threw') {
      for (const name of changes) this.#forget(name);
      return;
    }
    if (outcome.kind === 'refused') return;
    switch (call.kind) {
      case 'Prepare':
      case 'View':
        this.#facts.set(call.key, {
          kind: call.kind === 'View' ? 'view' : 'active',
          parent: call.parent ?? '',
          labels: storedLabels(call.labels),
          maker: client,
        });
        break;
      case 'Commit': {
        const before = this.#factOf(call.key);
        const [parent, maker] =
          typeof before === 'object' ? [before.parent, before.maker] : [null, null];
        this.#facts.set(call.key, 'absent');
        if (parent === null) this.#forget(call.name);
        else {
          const labels = storedLabels(call.labels);
          this.#facts.set(call.name, { kind: 'committed', parent, labels, maker });
        }
        break;
      }
      case 'Remove':
        if (this.#facts.has(call.name)) this.#facts.set(call.name, 'absent');
        break;
      case 'Update': {
        const before = this.#factOf(call.name);
        if (typeof before !== 'object') break;
        const labels = updatedLabels(before.labels, call.labels, call.paths);
        if (labels.ok)
          this.#facts.set(call.name, { ...before, labels: storedLabels(labels.value) });
        break;
      }
      case 'Stat':
      case 'Mounts':
      case 'Usage':
      case 'List':
      case 'Cleanup':
    }
  }

  /** Names that the clients did not choose are never known. */
  #forget(name: string): void {
    if (this.#facts.has(name)) this.#facts.set(name, 'unknown');
  }
}

function namesOf(call: Call): Pick<Touch, 'changes' | 'reads'> {
  switch (call.kind) {
    case 'Prepare':
    case 'View':
      return { changes: [call.key], reads: call.parent === null ? [] : [call.parent] };
    case 'Commit':
      return { changes: [call.key, call.name], reads: [] };
    case 'Remove':
    case 'Update':
      return { changes: [call.name], reads: [] };
    case 'Stat':
    case 'Mounts':
    case 'Usage':
      return { changes: [], reads: [call.name] };
    case 'List':
    case 'Cleanup':
      return { changes: [], reads: [] };
  }
}

/** The snapshot that the call changes, which its maker alone may do while it runs. */
function changedBy(call: Call): string | null {
  if (call.kind === 'Commit') return call.key;
  return call.kind === 'Remove' || call.kind === 'Update' ? call.name : null;
}

function concerns({ changes, reads }: Touch, name: string): boolean {
  return changes.includes(name) || reads.includes(name);
}

function describe(fact: Fact): string {
  if (typeof fact === 'string') return fact;
  return `${fact.kind} on "${fact.parent}" with {${labelsText(fact.labels)}}`;
}

/** The same text for the same labels; long values by their length. */
export function labelsText(labels: Labels): string {
  const short = (value: string) => (value.length > 20 ? `(${value.length})` : value);
  const parts = [...labels].map(([key, value]) => `${key}=${short(value)}`);
  return parts.sort().join(' ');
}

export function describeCall(call: Call): string {
  return Object.entries(call)
    .map(([key, value]: [string, unknown]) => {
      if (key === 'kind') return String(value);
      if (!(value instanceof Map)) return `${key}=${JSON.stringify(value)}`;
      return `{${labelsText(value as Labels)}}`;
    })
    .join(' ');
}

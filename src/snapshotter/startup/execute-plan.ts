/**
 * Executes the plan that a start has made and recorded. Each step is an ordinary command or an
 * ordinary effect: whatever a crash interrupts here is found, and done, by the next start.
 */
import { reasonOf } from '../../base/errors.js';
import type { DirectoryOwner, SnapshotDirectories } from '../../base/ports.js';
import { formatTime, unixNanos, type SnapshotId } from '../../base/units.js';
import { ownerFor } from '../../effects/state-effects.js';
import type { Supervisor } from '../../effects/supervisor.js';
import { isOrdinary, subjectOf, type Finding } from '../../inspect/startup/findings.js';
import {
  missingPart,
  uncheckedIn,
  uncheckedCandidates,
  withUses,
  type Plan,
} from '../../inspect/startup/plan.js';
import { metaOf } from '../../machines/transition-table.js';
import type { SnapshotState } from '../../machines/fold.js';
import type { Cleanup } from '../cleanup.js';
import type { Dispatcher } from '../dispatcher.js';
import type { IdmappedLayers } from '../idmapped-layers.js';
import type { Layers } from '../layer-availability.js';
import { recoveryPlanned } from './startup-events.js';
import type { StateRunner } from '../state-runner.js';
import type { UnownedDirectories } from '../unowned-directories.js';

export interface RecoveryOptions {
  readonly dispatcher: Dispatcher;
  readonly runner: StateRunner;
  readonly supervisor: Supervisor;
  readonly layers: Layers;
  readonly unowned: UnownedDirectories;
  readonly cleanup: Cleanup;
  readonly idmapped: IdmappedLayers;
  readonly directories: SnapshotDirectories;
  readonly plan: Plan;
  readonly snapshotsPath: string;
  readonly onWarning: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** A restart long overdue: try at once. */
const AT_ONCE = formatTime(unixNanos(0n));

export class Recovery {
  readonly #options: RecoveryOptions;
  /** Under way when they were replayed: clients are served before the plan is executed. */
  readonly #replayed: readonly SnapshotState[];
  /** Snapshots from here on are none of the restart's concern. */
  readonly #nextId: SnapshotId;

  /** Make it before the first client is served. */
  constructor(options: RecoveryOptions) {
    this.#options = options;
    this.#nextId = options.dispatcher.accepted.nextId;
    this.#replayed = [...options.dispatcher.accepted.unsettled()].filter(({ status }) => {
      const { afterCrash, effect } = metaOf(status);
      return afterCrash !== undefined || effect !== undefined;
    });
  }

  async run(): Promise<void> {
    const { plan, dispatcher, layers, unowned, onWarning } = this.#options;
    this.#resumeStates();
    for (const finding of plan.findings) {
      if (finding.kind !== 'KeptDirectories' || isOrdinary(finding)) continue;
      const directories = subjectOf(finding);
      onWarning('directories are set aside: a person must look at them', { directories });
    }
    const steps = plan.findings.map((finding) => this.#settle(finding));
    const adopted = plan.adopted.flatMap((id) => dispatcher.accepted.get(id) ?? []);
    const outcomes = await Promise.allSettled([
      ...steps,
      unowned.exclusively(() => this.#settleUnowned()),
      layers.firstUnusable(adopted, null, new AbortController().signal),
      ...this.#restoreIdmapped(),
      this.#lookInside(),
    ]);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') {
        onWarning('a step of recovery failed', { error: reasonOf(outcome.reason) });
      }
    }
  }

  /** Mounts with mapped ids: a reboot takes them away, a crash may leave some behind. */
  #restoreIdmapped(): readonly Promise<void>[] {
    const { plan, cleanup } = this.#options;
    const ids = plan.findings.flatMap((finding) =>
      finding.kind === 'MissingIdmappedMount' ? finding.ids : [],
    );
    const isLeft = plan.findings.some(({ kind }) => kind === 'UnneededIdmappedMount');
    const restored = [...new Set(ids)].map((id) => this.#mapAgain(id));
    return isLeft ? [...restored, cleanup.unmountIdmapped()] : restored;
  }

  async #mapAgain(id: SnapshotId): Promise<void> {
    const { dispatcher, layers, idmapped, supervisor, onWarning } = this.#options;
    const state = dispatcher.accepted.get(id);
    if (state === undefined || metaOf(state.status).shownAs === null) return;
    const below = dispatcher.accepted.ancestorsOf(state);
    const { signal } = new AbortController();
    const refusal =
      (await layers.firstUnusable(below, null, signal)) ??
      (await idmapped.ensure(state, null, supervisor));
    if (refusal === null) return;
    // The next use of the snapshot retries, and is refused with the reason.
    onWarning('layers could not be mounted with mapped ids', { id, error: refusal.message });
  }

  /**
   * The plan was made of names alone, so that clients need not wait for a look at each candidate.
   * What the look adds to the plan is recorded before anything is done about it.
   */
  async #settleUnowned(): Promise<void> {
    const { dispatcher, unowned, plan, snapshotsPath } = this.#options;
    const looked = await unowned.look(uncheckedCandidates(plan));
    const { added, plan: whole } = withUses(plan, looked, snapshotsPath);
    const findings = added.filter((finding) => !isOrdinary(finding));
    if (findings.length > 0) await dispatcher.record(recoveryPlanned(findings, 0));
    // The effect of the state sees to those that a crash has cut off.
    const candidates = plan.candidates.filter(({ because }) => because !== 'abandoned');
    await unowned.settle(candidates, whole.uses);
    await unowned.settleKept(plan.vanished);
  }

  /**
   * The plan was made of names alone, so that clients need not wait until many directories have
   * been looked into. What lacks its `fs` or `work` is recorded and settled now.
   */
  async #lookInside(): Promise<void> {
    const { dispatcher, directories, supervisor, plan, snapshotsPath, onWarning } = this.#options;
    // Their directories may be half made by now.
    const known = new Set(
      plan.findings.flatMap((finding) => (finding.kind === 'MissingDirectory' ? finding.id : [])),
    );
    const { result } = supervisor.run({
      effect: 'observe',
      snapshot: null,
      work: (signal) => directories.list(signal),
    });
    const entries = (await result).filter(({ id }) => id !== null && id < this.#nextId);
    const missing = entries.flatMap((entry): Finding[] => {
      const { id, isDirectory, parts } = entry;
      if (id === null || !isDirectory || known.has(id)) return [];
      if (parts.kind !== 'hidden' && (parts.kind !== 'seen' || (parts.fs && parts.work))) return [];
      const state = dispatcher.accepted.get(id);
      const shownAs = state === undefined ? null : metaOf(state.status).shownAs;
      if (state === undefined || shownAs === null || state.remote !== null) return [];
      if (state.status === 'committed.unavailable') return [];
      if (parts.kind === 'hidden') {
        const path = `${snapshotsPath}/${id}`;
        return [{ kind: 'HiddenDirectory', id, name: state.name, shownAs, path }];
      }
      const part = missingPart(state, entry);
      if (part === null) return [];
      const path = part === 'fs' ? directories.fsPath(id) : directories.workPath(id);
      return [{ kind: 'MissingDirectory', id, name: state.name, shownAs, path }];
    });
    const unchecked = uncheckedIn(entries, dispatcher.accepted);
    for (const finding of unchecked) {
      onWarning('a directory could not be looked into; it is left alone', { ...finding });
    }
    const findings = [...missing, ...unchecked];
    if (findings.length === 0) return;
    await dispatcher.record(recoveryPlanned(findings, 0));
    await Promise.all(findings.map((finding) => this.#settle(finding)));
  }

  /** Abandons operations whose caller is gone, and starts the effects of all other states. */
  #resumeStates(): void {
    const { dispatcher, runner } = this.#options;
    for (const state of this.#replayed) {
      // A client has changed it since, and its effects are running.
      if (dispatcher.accepted.get(state.id)?.streamVersion !== state.streamVersion) continue;
      const { afterCrash, effect } = metaOf(state.status);
      if (afterCrash !== undefined) dispatcher.report(state.id, { command: 'Recover' });
      else if (effect !== undefined) runner.entered(state);
    }
  }

  /** Effects of states, orphans and mere reports need no step of their own. */
  async #settle(finding: Finding): Promise<void> {
    if (finding.kind === 'MissingMount') {
      await this.#lost(finding.id, 'nothing is mounted on it after a restart', AT_ONCE);
    } else if (finding.kind === 'HiddenDirectory') {
      if (finding.shownAs !== 'committed') return;
      await this.#lost(finding.id, `something is mounted on its directory ${finding.path}`, null);
    } else if (finding.kind === 'MissingDirectory') {
      if (finding.shownAs === 'committed') {
        await this.#lost(finding.id, `its directory ${finding.path} is gone`, null);
      } else {
        await this.#makeDirectory(finding.id, finding.path);
      }
    }
  }

  async #lost(id: SnapshotId, reason: string, retryAt: string | null): Promise<void> {
    const lost = this.#options.dispatcher.report(id, { command: 'LayerLost', reason, retryAt });
    if (lost.ok) await lost.value?.durable;
  }

  /** The container's own writes are gone with its `fs`; an empty one lets it be cleaned up. */
  async #makeDirectory(id: SnapshotId, path: string): Promise<void> {
    const { dispatcher, directories } = this.#options;
    const state = dispatcher.accepted.get(id);
    // A client may have removed it since the look.
    if (state === undefined || metaOf(state.status).shownAs === null) return;
    const work = state.preparedAs === 'active';
    const parent = state.parent === null ? undefined : dispatcher.accepted.get(state.parent.id);
    const owner = path === directories.workPath(id) ? 'kept' : ownerFor(state, parent);
    await this.#prepare(id, { work, owner });
    await dispatcher.record({ type: 'DirectoryRecreated', data: { id, path } });
  }

  async #prepare(
    id: SnapshotId,
    how: { readonly work: boolean; readonly owner: DirectoryOwner },
  ): Promise<void> {
    const { directories, supervisor } = this.#options;
    const { result } = supervisor.run({
      effect: 'observe',
      snapshot: id,
      work: (signal) => directories.prepare(id, { ...how, durable: true }, signal),
    });
    await result;
  }
}

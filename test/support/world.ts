/**
 * A forest that is moved by commands alone, as the dispatcher moves it, without log or effects.
 * Clients' commands find their snapshot by name; outcomes are about a given id.
 */
import { streamVersion, unixNanos, type SnapshotId } from '../../src/base/units.js';
import type { Command } from '../../src/machines/commands.js';
import { decide, type Decision } from '../../src/machines/decide.js';
import type { SnapshotEvent } from '../../src/machines/events/events.js';
import { fold, type SnapshotState } from '../../src/machines/fold.js';
import { Forest } from '../../src/machines/snapshots/forest.js';

export class World {
  readonly forest = new Forest();
  /** Every event that was accepted, with the snapshot it is about. */
  readonly history: { readonly id: SnapshotId; readonly event: SnapshotEvent }[] = [];
  #time = 1_700_000_000_000_000_000n;

  holderFor(command: Command, about: SnapshotId | null): SnapshotState | null {
    if ('key' in command) return this.forest.holderOf(command.key) ?? null;
    if ('name' in command) return this.forest.holderOf(command.name) ?? null;
    return about === null ? null : (this.forest.get(about) ?? null);
  }

  /** Decides, folds what was decided, and answers both. */
  execute(command: Command, about: SnapshotId | null = null): Decision {
    const state = this.holderFor(command, about);
    const decision = decide(this.forest, state, command);
    if (decision.ok && decision.value.length > 0) this.#accept(command, state, decision.value);
    return decision;
  }

  #accept(command: Command, holder: SnapshotState | null, events: readonly SnapshotEvent[]): void {
    let state = command.command === 'Prepare' ? null : holder;
    for (const event of events) {
      this.#time += 1n;
      const version = streamVersion(state === null ? 0 : state.streamVersion + 1);
      state = fold(state, { event, time: unixNanos(this.#time), streamVersion: version });
      this.history.push({ id: state.id, event });
    }
    if (state !== null) this.forest.put(state);
  }
}

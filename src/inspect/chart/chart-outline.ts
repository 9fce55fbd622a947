/**
 * A statechart as a list of states and arrows, read from the machine's own definition: what every
 * picture of it has to show. How the pictures look is left to them.
 */
import { snapshotMachine } from '../../machines/snapshot-machine.js';

/** A state as XState's `machine.definition` tells it, as far as it is drawn. */
export interface ChartDefinition {
  readonly key: string;
  readonly type: string;
  readonly initial?: { readonly target: readonly unknown[] } | undefined;
  readonly states: Readonly<Record<string, ChartDefinition>>;
  readonly on: Readonly<Record<string, readonly ChartTransition[]>>;
}

export interface ChartTransition {
  readonly target?: readonly unknown[] | undefined;
  readonly guard?: unknown;
  /** The name of the delay after which the state is left by itself. */
  readonly delay?: string | undefined;
}

export interface ChartState {
  /** `committed.available`: the keys from the outermost state to this one. */
  readonly path: string;
  readonly isFinal: boolean;
  /** Has states of its own. */
  readonly isCompound: boolean;
  /** Where its inside, or the machine, begins. */
  readonly isInitial: boolean;
}

export interface ChartArrow {
  /** The same text for the same arrow in every picture: `active:SnapshotRemoving[isDeferred]`. */
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly event: string;
  /** A condition on what is known; null when the event is enough. */
  readonly guard: string | null;
}

export interface ChartOutline {
  readonly states: readonly ChartState[];
  readonly arrows: readonly ChartArrow[];
}

export const snapshotDefinition = snapshotMachine.definition as unknown as ChartDefinition;

export const snapshotOutline: ChartOutline = outlineOf(snapshotDefinition);

function outlineOf(root: ChartDefinition): ChartOutline {
  const states: ChartState[] = [];
  const arrows: ChartArrow[] = [];
  const visit = (node: ChartDefinition, around: string): void => {
    const initial = node.initial?.target[0];
    for (const child of Object.values(node.states)) {
      const path = around === '' ? child.key : `${around}.${child.key}`;
      states.push({
        path,
        isFinal: child.type === 'final',
        isCompound: Object.keys(child.states).length > 0,
        isInitial: initial !== undefined && keyOf(initial) === child.key,
      });
      arrows.push(...arrowsFrom(child, path, around));
      visit(child, path);
    }
  };
  visit(root, '');
  return { states, arrows };
}

function arrowsFrom(node: ChartDefinition, path: string, around: string): readonly ChartArrow[] {
  return Object.entries(node.on).flatMap(([event, transitions]) =>
    transitions.map(({ target, guard }) => {
      const to = target?.[0] === undefined ? node.key : keyOf(target[0]);
      const condition = typeof guard === 'string' ? guard : null;
      return {
        id: arrowId(path, event, condition),
        from: path,
        // A target is named among the state's siblings.
        to: around === '' ? to : `${around}.${to}`,
        event,
        guard: condition,
      };
    }),
  );
}

export function arrowId(from: string, event: string, guard: string | null): string {
  return `${from}:${event}${guard === null ? '' : `[${guard}]`}`;
}

/** A target is a state node, or in a serialised definition its path after `#machine.`. */
export function keyOf(target: unknown): string {
  if (typeof target === 'string') return target.slice(target.lastIndexOf('.') + 1);
  return (target as { readonly key: string }).key;
}

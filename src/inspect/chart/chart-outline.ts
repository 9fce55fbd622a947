/**
 * The states and arrows of a statechart, read from the definition of the machine. Every picture
 * shows these.
 */
import { snapshotMachine } from '../../machines/snapshot-machine.js';

/** The drawn part of a state in XState's `machine.definition`. */
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
  /** Has child states. */
  readonly isCompound: boolean;
  /** The initial state of its parent or of the machine. */
  readonly isInitial: boolean;
}

export interface ChartArrow {
  /** Identifies the arrow in every picture: `active:SnapshotRemoving[isDeferred]`. */
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly event: string;
  /** Null if the transition has no guard. */
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
        // A target is a sibling of the state.
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

/** A target is a state node, or in a serialized definition a path after `#machine.`. */
export function keyOf(target: unknown): string {
  if (typeof target === 'string') return target.slice(target.lastIndexOf('.') + 1);
  return (target as { readonly key: string }).key;
}

/** Renders a statechart as Mermaid text, optionally with one state highlighted. */
import { keyOf, type ChartDefinition } from './chart-outline.js';

/** `lit`: path of the highlighted state, for example `committed.available`. */
export function chartMermaid(root: ChartDefinition, lit: string | null = null): string {
  const lines = ['stateDiagram-v2', ...inside(root, '  ')];
  if (lit !== null) {
    lines.push('  classDef lit fill:#f6c344,stroke:#8a5a00,color:#1b1b1b,font-weight:bold');
    lines.push(`  class ${keyOf(lit)} lit`);
  }
  return lines.join('\n');
}

/** The states within a state, and the transitions that leave them. */
function inside(node: ChartDefinition, indent: string): readonly string[] {
  const lines: string[] = [];
  const initial = node.initial?.target[0];
  if (initial !== undefined) lines.push(`${indent}[*] --> ${keyOf(initial)}`);
  for (const child of Object.values(node.states)) {
    if (Object.keys(child.states).length > 0) {
      lines.push(`${indent}state ${child.key} {`, ...inside(child, `${indent}  `), `${indent}}`);
    }
    lines.push(...arrows(child, indent));
    if (child.type === 'final') lines.push(`${indent}${child.key} --> [*]`);
  }
  return lines;
}

function arrows(node: ChartDefinition, indent: string): readonly string[] {
  return Object.entries(node.on).flatMap(([event, transitions]) =>
    transitions.map(({ target, guard, delay }) => {
      const to = target?.[0] === undefined ? node.key : keyOf(target[0]);
      const condition = typeof guard === 'string' ? ` [${guard}]` : '';
      const cause = delay === undefined ? event : `after ${delay}`;
      return `${indent}${node.key} --> ${to}: ${cause}${condition}`;
    }),
  );
}

/** Markdown of the generated documents. */

/** What stands at the top of each: where it comes from, and how it is made again. */
export function heading(title: string, sources: string): string {
  return `# ${title}\n\n<!-- Generated from ${sources} by \`npm run docs\`. Do not edit. -->\n`;
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

export function code(text: string): string {
  return `\`${text}\``;
}

export function fenced(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

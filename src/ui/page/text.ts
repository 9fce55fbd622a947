/** Formats texts, times and sizes. Keys and labels are untrusted. */

/** Escapes characters that are invisible or change the reading direction, as `\u{1b}`. */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16).padStart(2, '0')}}`;
  });
}

/** Shortens digests to twelve digits, which is enough to tell layers apart. */
export function shortened(text: string): string {
  return text.replace(/\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b/g, '$1');
}

export interface SplitName {
  /** The namespace in containerd's `<namespace>/<number>/`; empty if there is none. */
  readonly namespace: string;
  readonly rest: string;
}

export function splitName(name: string): SplitName {
  const [, namespace = '', rest = ''] = /^([^/]+)\/\d+\/(.+)$/s.exec(name) ?? [];
  return rest === '' ? { namespace: '', rest: name } : { namespace, rest };
}

/** Formats an RFC 3339 time as `2026-11-27 18:20:11.123`, in UTC. */
export function shortTime(time: string): string {
  return time.slice(0, 23).replace('T', ' ');
}

/** Formats an RFC 3339 time as `18:20:11.123`. */
export function clockTime(time: string): string {
  return time.slice(11, 23);
}

export function timeOfMillis(millis: number): string {
  return shortTime(new Date(millis).toISOString());
}

/** `3.4 MiB`, as ctr formats sizes. */
export function humanSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? String(value) : value.toFixed(1)} ${units[unit] ?? ''}`;
}

/** `1,234`, independent of the locale. */
export function grouped(value: number): string {
  return value.toLocaleString('en-GB');
}

export function pluralize(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** The name of a state without its parent state. */
export function stateWord(status: string): string {
  return status === 'committed.available' ? 'committed' : status.slice(status.lastIndexOf('.') + 1);
}

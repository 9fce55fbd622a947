/** Paths as text: what a path's bytes were cannot be seen from it where they were no UTF-8. */

/**
 * Whether a path that came from outside is the one that was meant. Node puts U+FFFD in the place of
 * bytes that are not UTF-8, in arguments, in the environment and in what it reads of directories:
 * such a path names something else, or nothing.
 */
export const isUtf8 = (path: string): boolean => !path.includes('\u{fffd}');

/**
 * Why overlay mounts cannot be made of directories below a path; null when they can. The options
 * of a mount are joined with commas and its lowers with colons, and no client escapes either.
 */
export function whyNoRootPath(path: string): string | null {
  if (!isUtf8(path)) return 'the path is not valid UTF-8; choose another directory';
  const [found] = /[:,\\\p{Cc}]/u.exec(path) ?? [];
  if (found === undefined) return null;
  return `the path holds ${JSON.stringify(found)}, which the options of an overlay mount cannot; choose another directory`;
}

/** sun_path holds 108 bytes with its closing zero (unix(7)). */
export const socketPathBytesMax = 107;

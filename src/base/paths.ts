/** Paths as text: what a path's bytes were cannot be seen from it where they were no UTF-8. */

/**
 * Whether a path that came from outside is the one that was meant. Node puts U+FFFD in the place of
 * bytes that are not UTF-8, in arguments, in the environment and in what it reads of directories:
 * such a path names something else, or nothing.
 */
export const isUtf8 = (path: string): boolean => !path.includes('\u{fffd}');

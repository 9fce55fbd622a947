/** The part of fs-ext that is used here; the package has no types. */
declare module 'fs-ext' {
  /** flock(2): `exnb` takes an exclusive lock without waiting, `un` releases it. */
  export function flock(
    fd: number,
    operation: 'exnb' | 'un',
    callback: (error: NodeJS.ErrnoException | null) => void,
  ): void;
}

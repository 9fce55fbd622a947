/** A disk whose durable writes do something else first. */
import type { Disk } from '../../src/base/ports.js';

export const diskBeforeWrites =
  (before: (path: string) => Promise<void> | void) =>
  (real: Disk): Disk => ({
    ...real,
    open: async (path, mode) => {
      const file = await real.open(path, mode);
      const writeDurably = async (bytes: Uint8Array, offset: number) => {
        await before(path);
        await file.writeDurably(bytes, offset);
      };
      return new Proxy(file, {
        get: (target, name) => {
          if (name === 'writeDurably') return writeDurably;
          const member: unknown = Reflect.get(target, name, target);
          return typeof member === 'function' ? (member.bind(target) as unknown) : member;
        },
      });
    },
  });

/**
 * The image that the demo and the tests run: busybox, then layers that change, hide and replace
 * what lies below, so that a container can tell whether its layers were stacked rightly.
 */
import { readFile } from 'node:fs/promises';
import { type Image, type ImageOptions, imageOf, noise } from './image.js';
import { type LayerEntry, layerOf } from './layer.js';

export interface SampleOptions extends ImageOptions {
  /** Further layers on top of the three; each has `/layers/<n>`. */
  readonly extraLayers?: number;
  /** Of noise in each further layer. */
  readonly bytesPerLayer?: number;
  /** Images with different seeds share no layer but the first. */
  readonly seed?: string;
}

const applets =
  'sh cat ls echo test sleep true false id mkdir rm mv cp stat wc sync chown chmod dd grep find readlink touch ln head sha256sum'.split(
    ' ',
  );

const busyboxPath = process.env['STRATALOG_BUSYBOX'] ?? '/bin/busybox';

export async function sampleImage(options: SampleOptions = {}): Promise<Image> {
  const seed = options.seed ?? 'sample';
  const layers = [
    layerOf(baseEntries(await readFile(busyboxPath))),
    layerOf([
      { kind: 'directory', path: 'app' },
      { kind: 'file', path: 'app/hello.txt', content: `hello from ${seed}\n` },
      { kind: 'directory', path: 'old' },
      { kind: 'whiteout', path: 'old/secret.txt' },
    ]),
    layerOf([
      { kind: 'directory', path: 'settings' },
      { kind: 'opaque', path: 'settings' },
      { kind: 'file', path: 'settings/new.conf', content: `new ${seed}\n` },
    ]),
  ];
  for (let index = 0; index < (options.extraLayers ?? 0); index += 1) {
    const content = noise(options.bytesPerLayer ?? 1024, `${seed} ${index}`);
    layers.push(
      layerOf([
        { kind: 'directory', path: 'layers' },
        { kind: 'file', path: `layers/${index}`, content },
      ]),
    );
  }
  return imageOf(layers, options);
}

function baseEntries(busybox: Buffer): LayerEntry[] {
  return [
    ...['bin', 'etc', 'tmp', 'proc', 'sys', 'dev', 'run', 'old', 'settings'].map(
      (path): LayerEntry => ({ kind: 'directory', path, mode: path === 'tmp' ? 0o1777 : 0o755 }),
    ),
    { kind: 'file', path: 'bin/busybox', content: busybox, mode: 0o755 },
    ...applets.map((name): LayerEntry => ({
      kind: 'symlink',
      path: `bin/${name}`,
      target: 'busybox',
    })),
    { kind: 'file', path: 'etc/passwd', content: 'root:x:0:0:root:/:/bin/sh\n' },
    { kind: 'file', path: 'old/secret.txt', content: 'must be hidden\n' },
    { kind: 'file', path: 'old/kept.txt', content: 'kept\n' },
    { kind: 'file', path: 'settings/a.conf', content: 'a\n' },
    { kind: 'file', path: 'settings/b.conf', content: 'b\n' },
  ];
}

/** A shell script that fails, with the reason, unless the sample's layers are stacked rightly. */
export function stackCheck(options: SampleOptions = {}): string {
  const seed = options.seed ?? 'sample';
  const checks = [
    [`"$(cat /app/hello.txt)" = "hello from ${seed}"`, 'a file of the second layer'],
    ['! -e /old/secret.txt', 'a whiteout'],
    ['-e /old/kept.txt', 'a file beside a whiteout'],
    [`"$(ls /settings)" = new.conf`, 'an opaque directory'],
    [`"$(cat /settings/new.conf)" = "new ${seed}"`, 'a file in an opaque directory'],
    ...Array.from({ length: options.extraLayers ?? 0 }, (_, index) => [
      `"$(wc -c < /layers/${index})" = ${options.bytesPerLayer ?? 1024}`,
      `layer ${index} of the further ones`,
    ]),
  ];
  return [
    ...checks.map(([test, what]) => `test ${test} || { echo "wrong: ${what}"; exit 1; }`),
    'echo stacked rightly',
  ].join('\n');
}

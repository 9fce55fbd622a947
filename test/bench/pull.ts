/**
 * Pull and unpack of an image by a real containerd from a registry on this machine: containerd's
 * built-in overlayfs, then Stratalog as its plugin in both settings.
 */
import { randomBytes } from 'node:crypto';
import { run } from '../../scripts/rig/command.js';
import { PrivateContainerd } from '../../scripts/rig/containerd.js';
import { imageOf, pushImage, type Image } from '../../scripts/rig/image.js';
import { layerOf, type LayerEntry } from '../../scripts/rig/layer.js';
import { Registry } from '../../scripts/rig/registry.js';
import {
  candidatesOf,
  inTurns,
  inWorkspace,
  say,
  type Candidate,
  type Programs,
} from './candidates.js';
import { rowOf, type Row } from './report.js';

const layersOfTheImage = 6;
const filesOfALayer = 400;
const bytesOfAFile = 50_000;

export async function measurePulls(programs: Programs, turns: number): Promise<readonly Row[]> {
  return inWorkspace(async (registryWorkspace) => {
    say('making an image');
    const image = bigImage();
    const registry = await Registry.start(registryWorkspace);
    await pushImage(image, registry.url, 'bench/big', 'v1');
    const reference = registry.reference('bench/big', 'v1');
    const measured = await inTurns(turns, candidatesOf(programs), async (candidate, turn) => {
      say(`pull, turn ${turn}: ${candidate.name}`);
      return secondsOfPull(candidate, reference);
    });
    const bytes = layersOfTheImage * filesOfALayer * bytesOfAFile;
    const what = `pull of ${bytes / 1e6} MB in ${layersOfTheImage} layers, s`;
    const numbers = new Map([...measured].map(([{ name }, seconds]) => [name, seconds]));
    return [rowOf(what, numbers, '≤ 1.1 (metadata)')];
  });
}

/** Half of each file can be compressed, as of most programs. */
function bigImage(): Image {
  const layers = [];
  for (let layer = 0; layer < layersOfTheImage; layer += 1) {
    const top = `usr/lib/layer-${layer}`;
    const entries: LayerEntry[] = [
      { kind: 'directory', path: 'usr' },
      { kind: 'directory', path: 'usr/lib' },
      { kind: 'directory', path: top },
    ];
    for (let file = 0; file < filesOfALayer; file += 1) {
      const noise = randomBytes(bytesOfAFile / 2);
      const content = Buffer.concat([noise, Buffer.alloc(bytesOfAFile / 2, `${layer} ${file} `)]);
      entries.push({ kind: 'file', path: `${top}/file-${file}`, content });
    }
    layers.push(layerOf(entries));
  }
  return imageOf(layers);
}

/** A containerd and a snapshotter of its own each time: nothing is there yet. */
function secondsOfPull(candidate: Candidate, reference: string): Promise<number> {
  return inWorkspace(async (workspace) => {
    const daemon = candidate.make(workspace, 'snapshotter');
    await daemon.start();
    const containerd = await PrivateContainerd.start({
      workspace,
      pluginAddress: daemon.address,
      pluginRoot: daemon.root,
    });
    const isPeer = !daemon.serveCommand.includes('serve');
    const snapshotter = isPeer ? 'overlayfs' : 'stratalog';
    // What others have left to be written must not be waited for here.
    await run('sync', []);
    const began = performance.now();
    await containerd.ctr.finish(
      ['images', 'pull', '--plain-http', '--snapshotter', snapshotter, reference],
      { timeoutMillis: 300_000 },
    );
    return (performance.now() - began) / 1000;
  });
}

/**
 * `npx tsx scripts/page-picture.ts [DIRECTORY]`: makes docs/images/page.png again, from the log of a
 * real run: images with and without remote layers, containers, a removed image, a killed daemon, a
 * layer store that is gone. With a directory, all pictures go there: both themes, wide and narrow.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pullByLayers } from './rig/pull-by-layers.js';
import { Browser } from './rig/browser.js';
import { run } from './rig/command.js';
import { repository, stratalog } from './rig/daemon.js';
import { writeLayout } from './rig/image.js';
import { unmountWithin } from './rig/mounts.js';
import { Rig } from './rig/rig.js';
import { sampleImage } from './rig/sample-image.js';
import { until } from './rig/wait.js';
import { closeOnSignals, Workspace } from './rig/workspace.js';

interface Picture {
  readonly file: string;
  readonly theme: 'light' | 'dark';
  readonly width: number;
  readonly height: number;
}

const pictures: readonly Picture[] = [
  { file: 'page.png', theme: 'light', width: 1440, height: 900 },
  { file: 'page-dark.png', theme: 'dark', width: 1440, height: 900 },
  { file: 'page-narrow.png', theme: 'light', width: 420, height: 900 },
  { file: 'page-middle.png', theme: 'dark', width: 1000, height: 900 },
];

/** Ends with the daemon at work and its remote layers gone. */
async function story(rig: Rig, store: Workspace): Promise<void> {
  const { ctr, daemon } = rig;
  const web = await rig.publish(await sampleImage({ extraLayers: 3, seed: 'web' }), 'web');
  const batch = await rig.publish(await sampleImage({ extraLayers: 1, seed: 'batch' }), 'batch');
  const lazy = await rig.publish(await sampleImage(remoteSample), 'lazy');
  const k8s = ctr.inNamespace('k8s.io');

  await k8s.pull(web);
  await k8s.start(web, 'frontend', 'sleep 600', rig.workspace.path('frontend.out'));
  await pullByLayers(rig, lazy);
  await ctr.runOnce(lazy, 'reader', 'cat /app/hello.txt');
  await ctr.pull(batch);
  for (const job of ['job-1', 'job-2']) await ctr.runOnce(batch, job, 'echo done > /app/done');
  await k8s.start(web, 'backend', 'sleep 600', rig.workspace.path('backend.out'));
  await ctr.removeImage(batch);
  await k8s.removeContainer('frontend');

  await daemon.crash();
  await unmountWithin(daemon.root);
  await rename(store.path('layers'), store.path('away'));
  await daemon.start();
  await until('containerd has connected again', () => k8s.snapshots(), { pauseMillis: 200 });
  await k8s.start(web, 'backend-2', 'sleep 600', rig.workspace.path('backend-2.out'));
}

const remoteSample = { extraLayers: 1, seed: 'lazy' };

async function takePictures(root: string, directory: string, all: boolean): Promise<void> {
  const cli = join(repository, 'dist', 'cli.js');
  const server = spawn(process.execPath, [cli, 'ui', '--root', root], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const browser = await Browser.start();
  try {
    const [url] = (await once(createInterface(server.stdout), 'line')) as [string];
    for (const { file, theme, width, height } of all ? pictures : pictures.slice(0, 1)) {
      const page = await browser.newPage();
      await page.emulateMedia({ colorScheme: theme });
      await page.setViewportSize({ width, height });
      await page.goto(url);
      await page.getByRole('treeitem').filter({ hasText: 'unavailable' }).last().click();
      await page.locator('#chart .lit').waitFor();
      await page.locator('#findings li').first().waitFor();
      // A root in a temporary directory says nothing to a reader.
      await page.evaluate('document.getElementById("source").textContent = "/var/lib/stratalog"');
      await page.mouse.move(0, 0);
      const path = join(directory, file);
      await page.screenshot({ path, fullPage: width < 1200 });
      // Debian's pngquant: a page of text needs few colours.
      await run('pngquant', ['--force', '--skip-if-larger', '--output', path, '128', path]);
      await page.close();
    }
  } finally {
    await browser.close();
    server.kill();
  }
}

async function main(): Promise<void> {
  closeOnSignals();
  const [asked] = process.argv.slice(2);
  const directory = asked ?? join(repository, 'docs', 'images');
  await mkdir(directory, { recursive: true });
  const store = await Workspace.create('stratalog-store-');
  try {
    const layout = store.path('layout');
    await writeLayout(await sampleImage(remoteSample), layout, 'v1');
    const layers = store.path('layers');
    const imported = await stratalog(
      'layer',
      'import',
      '--layer-store',
      layers,
      `oci:${layout}:v1`,
    );
    if (imported.exitCode !== 0) throw new Error(imported.stderr);
    const rig = await Rig.start({ layerStore: layers });
    try {
      await story(rig, store);
      await takePictures(rig.daemon.root, directory, asked !== undefined);
    } finally {
      await rig.close();
    }
  } finally {
    await store.close();
  }
}

await main();

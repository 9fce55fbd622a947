/** Metric names with their types and label names, scraped from a daemon that has served calls. */
import { mkdir, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { aDaemonToBe, aDirectory, askedOf } from '../../cli/rig.js';
import type { SurfacePart } from './part.js';

export const metrics: SurfacePart = {
  file: 'metrics.txt',
  record: async () => {
    const socket = join(await aDirectory(), 'metrics.sock');
    const config = 'preallocated_directories = 0\n';
    const daemon = await aDaemonToBe({ config, flags: ['--metrics-address', socket] });
    await daemon.start();
    const client = askedOf(daemon);
    await client.prepare('surface');
    // A file where the next snapshot's directory belongs: labels of failures show only after one.
    await mkdir(join(daemon.root, 'snapshots'), { recursive: true });
    await writeFile(join(daemon.root, 'snapshots', '2'), '');
    await client.prepare('surface-fails').catch(() => undefined);
    const scraped = await scrape(socket);
    await daemon.stop();
    return `${linesOf(scraped).join('\n')}\n`;
  },
};

function scrape(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path: '/metrics' }, (response) => resolve(text(response)))
      .on('error', reject)
      .end();
  });
}

function linesOf(scraped: string): string[] {
  const families = [...scraped.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  return families
    .map(([, name = '', type = '']) => {
      // Labels of the runtime's own metrics come and go with what the runtime does.
      const labels = name.startsWith('stratalog_') ? [...labelsOf(name, type, scraped)].sort() : [];
      return `${name} ${type}${labels.length === 0 ? '' : ` {${labels.join(', ')}}`}`;
    })
    .sort();
}

function labelsOf(name: string, type: string, scraped: string): Set<string> {
  const suffix = type === 'histogram' ? '_(?:bucket|sum|count)' : '';
  const samples = [...scraped.matchAll(new RegExp(`^${name}${suffix}\\{(.*)\\} `, 'gm'))];
  const pairs = samples.flatMap(([, inner = '']) => [
    ...inner.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g),
  ]);
  return new Set(pairs.map(([, label = '']) => label));
}

/** The page of a root, served by the built command, in a browser that tells what went wrong in it. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { spawn } from 'node:child_process';
import type { Page } from 'playwright-core';
import type { Browser } from '../../scripts/rig/browser.js';
import { cliPath, preparing, prepared, committing, committed, type TestEvent } from '../cli/rig.js';

export interface Served {
  /** With the token. */
  readonly url: string;
  readonly origin: string;
  readonly token: string;
  close(): Promise<void>;
}

/** @param source `--root` and a root, or `--address` and a socket; what else is given stands behind */
export async function servedPage(...source: string[]): Promise<Served> {
  const server = spawn(process.execPath, [cliPath, 'ui', ...source], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '' },
  });
  const ended = once(server, 'exit');
  const [url] = (await Promise.race([
    once(createInterface(server.stdout), 'line'),
    ended.then(() => ['']),
  ])) as [string];
  if (url === '') throw new Error('`stratalog ui` ended before it printed its link');
  const { origin, searchParams } = new URL(url);
  return {
    url,
    origin,
    token: searchParams.get('token') ?? '',
    close: async () => {
      server.kill();
      await ended;
    },
  };
}

/** A page, and what must stay empty: console messages, errors, requests that leave the origin. */
export interface WatchedPage {
  readonly page: Page;
  readonly wrongs: string[];
}

export async function watchedPage(browser: Browser, { url, origin }: Served): Promise<WatchedPage> {
  const page = await browser.newPage();
  // Below half of a test's limit: a poll that waits asks once more before it fails, and then says for what.
  page.setDefaultTimeout(50_000);
  const wrongs: string[] = [];
  page.on('console', (message) => wrongs.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => wrongs.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) wrongs.push(`left: ${request.url()}`);
  });
  await page.goto(url);
  await page.getByRole('treeitem').first().waitFor();
  return { page, wrongs };
}

/** A committed layer on another one, or on nothing. */
export function aLayer(
  id: number,
  name: string,
  parent: { readonly id: number; readonly name: string } | null = null,
): TestEvent[] {
  return [
    preparing(id, `${name}-key`, { parent }),
    prepared(id),
    committing(id, name),
    committed(id, name, { parent }),
  ];
}

/**
 * Goal: neither browsers that left nor strangers that only connect keep the page from the person
 * with the link. Method: the server on a real port, with an archive whose answers are held back.
 */
import { once } from 'node:events';
import { get } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { position, type Position } from '../../src/base/units.js';
import { Forest } from '../../src/machines/snapshots/forest.js';
import type { Archive, PastState } from '../../src/inspect/archive/archive.js';
import { startPage } from '../../src/ui/server.js';

const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** An archive of which only the state is asked, and answered when it is let. */
class HeldStates {
  readonly asked: Position[] = [];
  #answers: (() => void)[] = [];

  async stateAt(at: Position): Promise<PastState> {
    this.asked.push(at);
    await new Promise<void>((resolve) => this.#answers.push(resolve));
    return { position: at, time: null, forest: new Forest() };
  }

  answer(): void {
    for (const answer of this.#answers.splice(0)) answer();
  }
}

async function aPage(states: HeldStates): Promise<URL> {
  const page = await startPage({
    ...{ archive: states as unknown as Archive, source: 'test', release: 'test' },
    ...{ findings: null, damage: null, host: '127.0.0.1', port: 0, token: 'a-token' },
    assets: new Map([['/', { type: 'text/plain', body: Buffer.from('the page') }]]),
  });
  closing.push(() => page.close());
  return new URL(page.url);
}

it('drops questions of browsers that left before their turn came', async () => {
  const states = new HeldStates();
  const { port, host } = await aPage(states);
  const headers = { cookie: `stratalog-${port}=a-token` };
  // From the end to the beginning, so that no answer can be had from the one before.
  const asked = [...Array(40).keys()].map((number) => {
    const request = get(`http://${host}/api/state?at=${100 - number}`, { headers, agent: false });
    return request.on('error', () => undefined);
  });
  await expect.poll(() => states.asked).toHaveLength(1);
  const last = get(`http://${host}/api/state?at=1`, { headers, agent: false });
  const answered = once(last, 'response');
  for (const request of asked) request.destroy();
  // A question that is answered without a turn: those that left are known to have left.
  await expect
    .poll(
      async () => {
        const probe = get(`http://${host}/nothing`, { headers, agent: false });
        const [response] = (await once(probe, 'response')) as [{ resume(): void }];
        response.resume();
        states.answer();
        return states.asked.includes(position(1));
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  states.answer();
  await answered;
  expect(states.asked.length).toBeLessThan(40);
});

it('closes the oldest connection that has shown no token to make room for another', async () => {
  const { port, host, search } = await aPage(new HeldStates());
  const idle: Socket[] = [];
  closing.push(() => {
    for (const socket of idle) socket.destroy();
  });
  for (let count = 0; count < 64; count += 1) {
    const socket = connect({ host: '127.0.0.1', port: Number(port) }).on('error', () => undefined);
    await once(socket, 'connect');
    idle.push(socket);
  }
  const request = get(`http://${host}/${search}`, { agent: false });
  const [response] = (await once(request, 'response')) as [{ statusCode: number; resume(): void }];
  response.resume();
  expect(response.statusCode).toBe(200);
  await expect.poll(() => idle.map(({ destroyed }) => destroyed).indexOf(false)).toBe(1);
});

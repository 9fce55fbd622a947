/** Goal: a client that connects during the replay is identified like one that connects later. */
import { expect, it } from 'vitest';
import { ConnectedCallers, type Caller } from '../../src/api/grpc/callers.js';

it('passes on who came before the listener, and who comes after, each once', () => {
  const heard: Caller[] = [];
  const callers = new ConnectedCallers();
  const [early, late] = [1, 2].map((pid) => ({ pid, uid: 0 }));
  expect(callers.connected(early ?? null)).toBe(early);
  expect(callers.connected(null)).toBeNull();
  callers.forwardTo((caller) => heard.push(caller));
  expect(heard).toEqual([early]);
  expect(callers.connected(late ?? null)).toBe(late);
  expect(heard).toEqual([early, late]);
});

it('keeps a bounded number of those that came early', () => {
  const heard: Caller[] = [];
  const callers = new ConnectedCallers();
  for (let pid = 1; pid <= 1_000; pid += 1) callers.connected({ pid, uid: 0 });
  callers.forwardTo((caller) => heard.push(caller));
  expect(heard.length).toBe(64);
});

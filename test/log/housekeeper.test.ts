/** When work on full segments runs: by a clock that is moved by hand. */
import { Subject } from 'rxjs';
import { expect, it } from 'vitest';
import { keepHouse } from '../../src/log/housekeeping/housekeeper.js';
import { VirtualClock } from '../support/virtual-clock.js';

function aHouse(answers: boolean[]) {
  const clock = new VirtualClock();
  const sealed = new Subject<void>();
  const rounds: number[] = [];
  let inRound: () => void = () => undefined;
  const housekeeping = keepHouse(sealed, clock, () => {
    rounds.push(clock.monotonicMillis());
    inRound();
    return Promise.resolve(answers.shift() ?? false);
  });
  const start = clock.monotonicMillis();
  return {
    ...{ clock, sealed, housekeeping },
    duringNextRound: (act: () => void) => {
      inRound = () => {
        inRound = () => undefined;
        act();
      };
    },
    since: () => rounds.map((at) => at - start),
  };
}

it('waits after a start, and rests between two segments', async () => {
  const { clock, since } = aHouse([true, true, false]);
  await clock.advance(4_999);
  expect(since()).toEqual([]);
  for (let step = 0; step < 40; step += 1) await clock.advance(250);
  const [first = 0, second = 0, third = 0, ...more] = since();
  expect([second - first, third - second, more]).toEqual([250, 250, []]);
});

it('looks again after each segment, and once for several that were sealed meanwhile', async () => {
  const house = aHouse([]);
  for (let step = 0; step < 30; step += 1) await house.clock.advance(250);
  expect(house.since()).toHaveLength(1);
  house.duringNextRound(() => {
    for (let count = 0; count < 3; count += 1) house.sealed.next();
  });
  house.sealed.next();
  for (let step = 0; step < 80; step += 1) await house.clock.advance(250);
  expect(house.since()).toHaveLength(3);
});

it('ends when it is unsubscribed, whatever is sealed afterwards', async () => {
  const house = aHouse([true, true, true, true]);
  for (let step = 0; step < 22; step += 1) await house.clock.advance(250);
  const rounds = house.since().length;
  expect(rounds).toBeGreaterThan(1);
  house.housekeeping.unsubscribe();
  house.sealed.next();
  await house.clock.advance(20_000);
  expect(house.since()).toHaveLength(rounds);
});

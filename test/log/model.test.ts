/**
 * Goal: whatever is appended, killed, cut off and reopened, in any order: what was acknowledged is
 * there, what is there was appended, in order and in whole units, and the log verifies.
 * Method: random commands against a log on a forgetful disk, and a list as the model.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LogRecord } from '../../src/log/types.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import {
  anEvent,
  openTestLog,
  recordsOf,
  steppingClock,
  verified,
  type TestLog,
} from './fixtures.js';
import { rounds } from '../support/effort.js';

type Command =
  | {
      readonly do: 'append';
      readonly streams: readonly number[];
      readonly bytes: number;
      readonly sync: boolean;
      readonly wait: boolean;
      readonly closes: boolean;
    }
  | { readonly do: 'checkpoint' }
  | { readonly do: 'retire' }
  | { readonly do: 'restart' }
  | { readonly do: 'kill' }
  | { readonly do: 'power-cut'; readonly afterWrites: number; readonly seed: number };

const anAppend = fc.record({
  do: fc.constant('append' as const),
  streams: fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }),
  bytes: fc.oneof({ weight: 9, arbitrary: fc.nat(300) }, { weight: 1, arbitrary: fc.nat(6000) }),
  sync: fc.boolean(),
  wait: fc.boolean(),
  closes: fc.boolean(),
});

const aCommand: fc.Arbitrary<Command> = fc.oneof(
  { weight: 20, arbitrary: anAppend },
  { weight: 2, arbitrary: fc.constant({ do: 'checkpoint' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'retire' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'kill' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('power-cut' as const),
      afterWrites: fc.nat(12),
      seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
    }),
  },
);

/** What the log must hold: everything acknowledged, perhaps more, never anything else. */
class Model {
  disk = new FaultyDisk();
  log: TestLog | null = null;
  /** Records as they were told, by position. */
  told: LogRecord[] = [];
  /** Lengths of the log at which an append ended. */
  unitEnds = new Set([0]);
  acknowledged = 0;
  #clock = 1_700_000_000_000_000_000n;

  async open(): Promise<void> {
    // A clock of its own for each start, always ahead of the last.
    this.#clock += 1_000_000_000n;
    const log = await openTestLog(this.disk, {
      segmentBytes: 4096,
      clock: steppingClock(this.#clock),
    });
    this.log = log;
    const { durablePosition } = log.log;
    expect(log.warnings).toEqual([]);
    expect(durablePosition).toBe(log.log.nextPosition);
    expect(durablePosition).toBeGreaterThanOrEqual(this.acknowledged);
    expect(this.unitEnds).toContain(durablePosition);
    this.told = this.told.slice(0, durablePosition);
    this.unitEnds = new Set([...this.unitEnds].filter((end) => end <= durablePosition));
    this.acknowledged = durablePosition;
    const from = log.restored?.position ?? 0;
    expect(log.replayed).toEqual(this.told.slice(from));
    expect(log.restored?.lines ?? []).toEqual(this.told.slice(0, from).map(lineOf));
  }

  async run(command: Command): Promise<void> {
    if (!this.log) await this.open();
    const log = this.log?.log;
    if (!log) throw new Error('the log is open');
    switch (command.do) {
      case 'append':
        return this.#append(command);
      case 'checkpoint': {
        const position = log.durablePosition;
        const lines = this.told.slice(0, position).map(lineOf);
        return log.writeCheckpoint({ position, lines });
      }
      case 'retire':
        await log.retire(log.durablePosition).catch((thrown: unknown) => {
          expect(thrown).toMatchObject({ name: 'UsageError' });
        });
        return;
      case 'restart':
        await log.close();
        this.acknowledged = this.told.length;
        return this.open();
      case 'kill':
        this.disk = this.disk.afterKill();
        return this.open();
      case 'power-cut':
        return this.#powerCut(command);
    }
  }

  async #append(command: Command & { do: 'append' }): Promise<void> {
    const log = this.log?.log;
    if (!log) throw new Error('the log is open');
    const next = new Map<number, number>();
    for (const { stream, streamVersion, closesStream } of this.told) {
      next.set(Number(stream.slice(1)), closesStream ? 0 : streamVersion + 1);
    }
    const events = command.streams.map((stream, index) => {
      const version = next.get(stream) ?? 0;
      const closes = command.closes && index === command.streams.length - 1;
      next.set(stream, version + 1);
      return anEvent(`s${stream}`, version, { text: 'x'.repeat(command.bytes) }, closes);
    });
    const { records, durable } = log.append(events, { sync: command.sync });
    this.told.push(...records);
    this.unitEnds.add(this.told.length);
    const end = this.told.length;
    const noted = durable.then(() => {
      this.acknowledged = Math.max(this.acknowledged, end);
    });
    if (command.sync && command.wait) await noted;
    else noted.catch(() => undefined);
  }

  /** The power goes at a later write or sync; what comes back is drawn from the seed. */
  async #powerCut(command: Command & { do: 'power-cut' }): Promise<void> {
    let left = command.afterWrites;
    this.disk.plan = (operation) => {
      if (operation === 'read' || operation === 'open' || left-- > 0) return undefined;
      return { kind: 'power-cut' };
    };
    const load: Command = {
      do: 'append',
      streams: [0, 1],
      bytes: 200,
      sync: true,
      wait: true,
      closes: false,
    };
    try {
      for (let step = 0; step < 20; step++) {
        await this.#append(load);
        if (step === 10) await this.run({ do: 'checkpoint' });
      }
    } catch (thrown) {
      expect(thrown).toMatchObject({ message: expect.stringContaining('EIO') as string });
    }
    let seed = command.seed;
    this.disk = this.disk.powerCut(() => (seed = (seed * 16807) % 2147483647) / 2147483647);
    await this.open();
  }

  async finish(): Promise<void> {
    if (!this.log) await this.open();
    await this.log?.log.close();
    const { findings, summary } = await verified(this.disk);
    expect(findings.filter(({ kind }) => kind !== 'left-over')).toEqual([]);
    expect(summary.verifiedTo).toBe(this.told.length);
    expect(await recordsOf(this.disk)).toEqual(this.told.slice(summary.from));
  }
}

const lineOf = (record: LogRecord): string => JSON.stringify([record.position, record.stream]);

describe('a log against its model', () => {
  it('holds what was acknowledged, in order and in whole units, through kills and power cuts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(aCommand, { maxLength: 40 }), async (commands) => {
        const model = new Model();
        for (const command of commands) await model.run(command);
        await model.finish();
      }),
      { numRuns: rounds(300, 1000) },
    );
  }, 120_000);
});

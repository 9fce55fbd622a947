/**
 * A client's work on the service, step by step, and what it was told. The calls of one step are
 * made at the same time; the next step begins when the service is at rest again.
 */
import * as fs from 'node:fs';
import { snapshotName } from '../../../src/base/units.js';
import { TARGET_LABEL, UID_MAPPING_LABEL } from '../../../src/machines/labels.js';
import type { OpenedSnapshotter } from '../../../src/snapshotter/startup/open.js';
import { told } from '../../support/daemon.js';
import { drive, rest, type Driven } from './drive.js';
import type { Gate } from './gate.js';
import { MAPS, type Machine, type Process } from './machine.js';
import { observe } from './observed.js';

export type Call =
  | {
      readonly call: 'Prepare' | 'View';
      readonly key: string;
      readonly parent?: string;
      /** Asks for a remote layer. */
      readonly ref?: string;
      /** Is for a container in a user namespace. */
      readonly mapped?: true;
    }
  | { readonly call: 'Commit'; readonly key: string; readonly name: string }
  | { readonly call: 'Remove'; readonly name: string }
  | { readonly call: 'Update'; readonly name: string; readonly labels: Record<string, string> }
  | { readonly call: 'Cleanup' }
  /** An orderly stop, and a start. */
  | { readonly call: 'restart' };

export type Step =
  | readonly Call[]
  /** The client writes a file into an active snapshot. */
  | { readonly write: string; readonly text: string };

export interface CallRecord {
  readonly call: Call;
  answer: string | null;
}

const never = (): AbortSignal => new AbortController().signal;

/** The names that a call may change. */
export function namesOf(call: Call): readonly string[] {
  switch (call.call) {
    case 'Prepare':
    case 'View':
      return call.ref === undefined ? [call.key] : [call.key, call.ref];
    case 'Commit':
      return [call.key, call.name];
    case 'Remove':
    case 'Update':
      return [call.name];
    case 'Cleanup':
    case 'restart':
      return [];
  }
}

export class Session {
  readonly machine: Machine;
  #process: Process;
  #opened: OpenedSnapshotter | null = null;
  /** The calls of the newest step. */
  records: CallRecord[] = [];

  constructor(machine: Machine, gate: Gate) {
    this.machine = machine;
    this.#process = machine.start(gate);
  }

  get process(): Process {
    return this.#process;
  }

  get opened(): OpenedSnapshotter {
    if (this.#opened === null) throw new Error('it is not open');
    return this.#opened;
  }

  /** Until the root is open, recovery done, and all is at rest. */
  async begin(): Promise<Driven<null>> {
    const opened = await drive(this.#process, this.#process.opened);
    if (opened === 'died') return 'died';
    this.#opened = opened.value;
    return rest(this.#process);
  }

  async take(step: Step): Promise<Driven<null>> {
    if ('write' in step) {
      await this.#write(step.write, step.text);
      return { value: null };
    }
    this.records = step.map((call) => ({ call, answer: null }));
    const calls = this.records.map((record) => this.#make(record));
    // A process that was started anew has a clock of its own.
    const driven = await drive({ ...this.#process, clock: this.#clock() }, Promise.all(calls));
    return driven === 'died' ? 'died' : rest(this.#process);
  }

  async takeAll(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      if ((await this.take(step)) === 'died') throw new Error('it died without a cause');
    }
  }

  async close(): Promise<void> {
    const closing = this.opened.close('the test is over');
    if ((await drive(this.#process, closing)) === 'died') throw new Error('it died at its end');
  }

  #clock(): Process['clock'] {
    const jump = (withinMillis: number): boolean => this.#process.clock.jump(withinMillis);
    return Object.assign(Object.create(this.#process.clock) as Process['clock'], { jump });
  }

  async #make(record: CallRecord): Promise<void> {
    const { gate } = this.#process;
    const { call } = record;
    const answer = await this.#ask(call);
    await gate.pass(`before the reply to ${call.call}`);
    record.answer = answer;
    await gate.pass(`after the reply to ${call.call}`);
  }

  async #ask(call: Call): Promise<string> {
    const { snapshotter } = this.opened;
    const caller = {};
    switch (call.call) {
      case 'Prepare':
      case 'View': {
        const parent = call.parent === undefined ? null : snapshotName(call.parent);
        const labels = new Map<string, string>();
        if (call.ref !== undefined) labels.set(TARGET_LABEL, call.ref);
        if (call.mapped === true) labels.set(UID_MAPPING_LABEL, MAPS.uids);
        const request = { key: snapshotName(call.key), parent, labels, caller };
        const asked =
          call.call === 'View'
            ? snapshotter.view(request, never())
            : snapshotter.prepare(request, never());
        return told(await asked);
      }
      case 'Commit': {
        const names = { key: snapshotName(call.key), name: snapshotName(call.name), parent: null };
        return told(await snapshotter.commit({ ...names, labels: new Map(), caller }, never()));
      }
      case 'Remove':
        return told(await snapshotter.remove(snapshotName(call.name), caller));
      case 'Update': {
        const labels = new Map(Object.entries(call.labels));
        const name = snapshotName(call.name);
        return told(await snapshotter.update({ name, labels, paths: [], caller }));
      }
      case 'Cleanup':
        await snapshotter.cleanup(never());
        return 'ok';
      case 'restart': {
        await this.opened.close('restart');
        this.#process = this.machine.start(this.#process.gate);
        this.#opened = await this.#process.opened;
        return 'ok';
      }
    }
  }

  async #write(name: string, text: string): Promise<void> {
    const { machine } = this;
    const id = (await observe(machine)).get(name)?.id;
    if (id === undefined) return;
    const path = `${machine.snapshots}/${id}/fs/file`;
    fs.writeFileSync(path, text);
    machine.tree.made(path);
    machine.tree.written(path);
  }
}

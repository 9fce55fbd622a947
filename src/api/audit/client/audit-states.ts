/** Builds a forest from the messages of StateAt. */
import { Forest } from '../../../machines/snapshots/forest.js';
import { PackedStates } from '../../../machines/snapshots/packed-states.js';
import { CHECKPOINT_SCHEMA } from '../../../machines/snapshots/state-json.js';
import { EventNotUnderstood } from '../../../machines/events/streams.js';
import { snapshotId } from '../../../base/units.js';
import type { StateAtResponse, StateHead } from '../../generated/stratalog/audit/v1/audit.js';

/** @throws EventNotUnderstood if the lines have another schema or are incomplete */
export async function forestOf(
  messages: AsyncIterable<StateAtResponse>,
): Promise<{ readonly head: StateHead; readonly forest: Forest }> {
  let head: StateHead | undefined;
  const pieces: Buffer[] = [];
  for await (const message of messages) {
    head ??= message.head;
    if (head !== undefined) refuseOtherSchema(head);
    pieces.push(Buffer.from(message.states));
  }
  if (head === undefined)
    throw new EventNotUnderstood('the daemon sent a state without a head', false);
  const packed = await PackedStates.index(Buffer.concat(pieces), Number(head.snapshots));
  const forest = new Forest(packed);
  forest.reserveIdsBelow(Number(head.nextId));
  forest.reservePreallocated(head.preallocated.map((id) => snapshotId(Number(id))));
  return { head, forest };
}

function refuseOtherSchema({ stateSchema }: StateHead): void {
  if (stateSchema === CHECKPOINT_SCHEMA) return;
  throw new EventNotUnderstood(
    `the daemon sends state schema ${stateSchema}; this release supports ${CHECKPOINT_SCHEMA}`,
    stateSchema > CHECKPOINT_SCHEMA,
  );
}

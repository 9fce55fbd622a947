/**
 * Coordinates of the states and arrows in the picture of the snapshot statechart. Laid out by hand:
 * a life runs downwards, and the transitions that end it share three lines. A test checks that the
 * layout has exactly the states and arrows of the machine.
 */

export type Point = readonly [x: number, y: number];

export interface PlacedState {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface PlacedLabel {
  readonly at: Point;
  readonly anchor: 'start' | 'middle' | 'end';
  /** Runs upwards, next to a line that several arrows share. */
  readonly isUpright?: true;
}

export interface PlacedArrow {
  /** Corners are rounded; the tip is at the last point. */
  readonly line: readonly Point[];
  /** Null if another arrow on the same line has the label for both. */
  readonly label: PlacedLabel | null;
}

/** The visible area. */
export const chartFrame = { x: 86, y: 0, width: 782, height: 752 } as const;

const box = (centreX: number, centreY: number): PlacedState => ({
  x: centreX - 66,
  y: centreY - 22,
  width: 132,
  height: 44,
});

export const statePositions: ReadonlyMap<string, PlacedState> = new Map([
  ['absent', box(450, 30)],
  ['preparing', box(450, 112)],
  ['mappingIds', box(315, 174)],
  ['view', box(180, 236)],
  ['active', box(450, 236)],
  ['mounting', box(712, 236)],
  ['committing', box(450, 356)],
  ['mounted', box(712, 356)],
  ['committed', { x: 360, y: 436, width: 440, height: 130 }],
  ['committed.available', box(450, 522)],
  ['committed.unavailable', box(712, 522)],
  ['awaitingCleanup', { x: 106, y: 618, width: 148, height: 44 }],
  ['removing', box(712, 640)],
  ['removed', box(712, 724)],
]);

const start = (x: number, y: number): PlacedLabel => ({ at: [x, y], anchor: 'start' });
const middle = (x: number, y: number): PlacedLabel => ({ at: [x, y], anchor: 'middle' });
const end = (x: number, y: number): PlacedLabel => ({ at: [x, y], anchor: 'end' });
const upright = (x: number, y: number): PlacedLabel => ({ ...middle(x, y), isUpright: true });

/** Along the line of abandoned snapshots on the right, down to `removing`. */
const abandoned = (from: Point): readonly Point[] => [from, [838, from[1]], [838, 640], [778, 640]];

/** Along the line of deferred removals, down to `awaitingCleanup`. */
const deferred = (from: Point): readonly Point[] => [
  from,
  [260, from[1]],
  [260, 598],
  [180, 598],
  [180, 618],
];

/** Along the line of removals, down to `removing`. */
const removed = (from: Point): readonly Point[] => [from, [284, from[1]], [284, 631], [646, 631]];

/** A loop at the upper right corner of a box. */
const selfLoop = (x: number, y: number): readonly Point[] => [
  [x + 44, y - 22],
  [x + 44, y - 38],
  [x + 84, y - 38],
  [x + 84, y - 12],
  [x + 66, y - 12],
];

export const arrowPositions: ReadonlyMap<string, PlacedArrow> = new Map<string, PlacedArrow>([
  ['absent:SnapshotSalvaged', arrow(middle(667, 22), [516, 30], [818, 30], [818, 470], [800, 470])],
  ['absent:SnapshotPreparing', arrow(start(459, 75), [450, 52], [450, 90])],
  [
    'preparing:SnapshotPrepared[isView]',
    arrow(middle(282, 104), [384, 112], [160, 112], [160, 214]),
  ],
  ['preparing:SnapshotPrepared', arrow(start(459, 175), [450, 134], [450, 214])],
  ['preparing:IdMappingStarted', arrow(end(394, 147), [402, 134], [402, 168], [381, 168])],
  [
    'mappingIds:SnapshotPrepared[isView]',
    {
      line: [
        [249, 174],
        [200, 174],
        [200, 214],
      ],
      label: null,
    },
  ],
  [
    'mappingIds:SnapshotPrepared',
    {
      line: [
        [340, 196],
        [340, 219],
        [384, 219],
      ],
      label: null,
    },
  ],
  ['mappingIds:SnapshotAbandoned', { line: abandoned([381, 185]), label: null }],
  [
    'preparing:RemoteMountStarted[isAsked]',
    arrow(end(703, 150), [516, 121], [712, 121], [712, 214]),
  ],
  ['preparing:SnapshotAbandoned', { line: abandoned([516, 101]), label: upright(857, 420) }],
  ['mounting:RemoteMounted', arrow(start(721, 300), [712, 258], [712, 334])],
  ['mounting:RemoteMountFailed', arrow(middle(581, 254), [646, 236], [516, 236])],
  ['mounting:SnapshotAbandoned', { line: abandoned([778, 236]), label: null }],
  ['mounted:SnapshotCommitted', arrow(end(703, 399), [712, 378], [712, 436])],
  ['mounted:SnapshotAbandoned', { line: abandoned([778, 356]), label: null }],
  ['active:SnapshotCommitting', arrow(end(416, 300), [425, 258], [425, 334])],
  ['active:LabelsUpdated', { line: selfLoop(450, 236), label: start(541, 207) }],
  ['active:SnapshotRemoving[isDeferred]', { line: deferred([384, 227]), label: null }],
  ['active:SnapshotRemoving', { line: removed([384, 245]), label: null }],
  ['committing:SnapshotCommitted', arrow(start(459, 424), [450, 378], [450, 436])],
  ['committing:SnapshotCommitFailed', arrow(start(484, 300), [475, 334], [475, 258])],
  ['committing:LabelsUpdated', { line: selfLoop(450, 356), label: start(541, 334) }],
  ['view:LabelsUpdated', viewLoop()],
  ['view:SnapshotRemoving[isDeferred]', { line: deferred([246, 227]), label: upright(250, 400) }],
  ['view:SnapshotRemoving', { line: removed([246, 245]), label: upright(299, 400) }],
  [
    'committed:LabelsUpdated',
    arrow(start(611, 590), [560, 566], [560, 586], [602, 586], [602, 566]),
  ],
  ['committed:SnapshotRemoving[isDeferred]', { line: deferred([360, 490]), label: null }],
  ['committed:SnapshotRemoving', { line: removed([360, 508]), label: null }],
  ['committed.available:LayerUnavailable', arrow(middle(581, 505), [516, 513], [646, 513])],
  [
    'committed.unavailable:LayerUnavailable',
    arrow(end(752, 478), [756, 500], [756, 484], [790, 484], [790, 512], [778, 512]),
  ],
  ['committed.unavailable:LayerAvailable', arrow(middle(581, 549), [646, 531], [516, 531])],
  ['awaitingCleanup:SnapshotCollecting', arrow(start(300, 667), [254, 649], [646, 649])],
  [
    'removing:SnapshotRemovalFailed',
    arrow(start(722, 694), [762, 662], [762, 680], [800, 680], [800, 652], [778, 652]),
  ],
  ['removing:SnapshotRemoved', arrow(end(703, 687), [712, 662], [712, 702])],
]);

function arrow(label: PlacedLabel, ...line: readonly Point[]): PlacedArrow {
  return { line, label };
}

/** At the lower left corner, because lines pass the others. */
function viewLoop(): PlacedArrow {
  return arrow(start(158, 284), [150, 258], [150, 276], [98, 276], [98, 246], [114, 246]);
}

/**
 * Everything that can be asked of a snapshot. The first four come from clients; the rest report
 * how an effect ended, or what a restart found. All are decided by decide.ts.
 */
import type { FileOwner } from '../base/ports.js';
import type { Labels, SnapshotId, SnapshotName, Usage } from '../base/units.js';
import type { Caller, SnapshotEventData } from './events/events.js';
import type { Keeper } from './client-identity.js';

export type Command =
  | {
      readonly command: 'Prepare';
      readonly kind: 'active' | 'view';
      readonly key: SnapshotName;
      readonly parent: SnapshotName | null;
      readonly labels: Labels;
      readonly caller: Caller;
      /** A remote layer that is ready is not for this client, which gets a plain snapshot. */
      readonly withholdsReady?: boolean;
      /** What keeps the snapshot that has the key already from this caller. */
      readonly nameKeeper?: Keeper | null;
      /** Directories that stand already, made ahead of time; without them they are made now. */
      readonly preallocated?: { readonly id: SnapshotId; readonly remote: RemoteQuestion };
      /** Why layers cannot be mounted with mapped ids on this host; absent: they can. */
      readonly whyNoIdMapping?: string;
    }
  | {
      readonly command: 'Commit';
      readonly key: SnapshotName;
      readonly name: SnapshotName;
      /** Newer clients name the parent here, for a snapshot that was prepared without one. */
      readonly parent: SnapshotName | null;
      readonly labels: Labels;
      readonly caller: Caller;
      readonly keeper?: Keeper | null;
      /** The same, of the snapshot that has the name already. */
      readonly nameKeeper?: Keeper | null;
    }
  | {
      readonly command: 'UpdateLabels';
      readonly name: SnapshotName;
      readonly labels: Labels;
      /** Field mask: empty, `labels`, or `labels.<key>` each. */
      readonly paths: readonly string[];
      readonly caller: Caller;
      readonly keeper?: Keeper | null;
    }
  | {
      readonly command: 'Remove';
      readonly name: SnapshotName;
      /** Leave the directory to Cleanup. */
      readonly deferred: boolean;
      readonly caller: Caller;
      /** What keeps the snapshot from this caller; without one it may be changed. */
      readonly keeper?: Keeper | null;
    }
  /** The directories stand. `remote` says whether the remote file system is asked now. */
  | { readonly command: 'DirectoriesReady'; readonly remote: RemoteQuestion }
  | { readonly command: 'DirectoriesFailed'; readonly reason: string }
  /** The layers below are mounted with mapped ids. */
  | { readonly command: 'IdsMapped' }
  | { readonly command: 'RemoteReady'; readonly usage: Usage; readonly owner: FileOwner }
  | { readonly command: 'RemoteFailed'; readonly reason: string }
  | {
      readonly command: 'DataReady';
      readonly usage: Usage;
      readonly owner: FileOwner;
      readonly durability: SnapshotEventData<'SnapshotCommitted'>['durability'];
    }
  | { readonly command: 'DataFailed'; readonly reason: string }
  | { readonly command: 'LayerLost'; readonly reason: string; readonly retryAt: string | null }
  | {
      readonly command: 'LayerFound';
      readonly how: SnapshotEventData<'LayerAvailable'>['how'];
    }
  | { readonly command: 'Collect' }
  | { readonly command: 'DirectoriesGone' }
  /** An attempt to remove the directories failed; it will be repeated. */
  | {
      readonly command: 'RemovalFailed';
      readonly path: string;
      readonly code: string;
      readonly reason: string;
    }
  /** The daemon has just started: no caller waits for what was in progress. */
  | { readonly command: 'Recover' };

export type RemoteQuestion =
  | { readonly ask: false }
  | { readonly ask: true; readonly ref: string; readonly fileSystem: string }
  /** Known beforehand that it would fail; the reason is kept all the same. */
  | {
      readonly ask: 'declined';
      readonly ref: string;
      readonly fileSystem: string;
      readonly reason: string;
    };

export type CommandName = Command['command'];
export type CommandOf<Name extends CommandName> = Extract<Command, { readonly command: Name }>;

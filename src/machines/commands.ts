/**
 * Everything that can be asked of a snapshot. The first four come from clients; the rest report
 * how an effect ended, or what a restart found. All are decided by decide.ts.
 */
import type { FileOwner } from '../base/ports.js';
import type { Labels, SnapshotId, SnapshotName, Usage } from '../base/units.js';
import type { Caller, Fault, SnapshotEventData } from './events/events.js';
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
      /** Number of directories that were made ahead of time; without it they are made now. */
      readonly preallocated?: SnapshotId;
      /** Names of the remote file systems, in the order in which they are asked. */
      readonly fileSystems?: readonly string[];
      /** Why they are not asked this time; null if they are. */
      readonly declined?: string | null;
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
  /** The directories exist. */
  | { readonly command: 'DirectoriesReady' }
  | { readonly command: 'DirectoriesFailed'; readonly reason: string; readonly fault: Fault }
  /** The layers below are mounted with mapped ids. */
  | { readonly command: 'IdsMapped' }
  | {
      readonly command: 'RemoteReady';
      /** Which one mounted the layer. */
      readonly fileSystem: string;
      readonly usage: Usage;
      readonly owner: FileOwner;
    }
  | { readonly command: 'RemoteFailed'; readonly reason: string }
  | {
      readonly command: 'DataReady';
      readonly usage: Usage;
      readonly owner: FileOwner;
      readonly durability: SnapshotEventData<'SnapshotCommitted'>['durability'];
    }
  | { readonly command: 'DataFailed'; readonly reason: string; readonly fault: Fault }
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

export type CommandName = Command['command'];
export type CommandOf<Name extends CommandName> = Extract<Command, { readonly command: Name }>;

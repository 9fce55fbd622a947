/** What an import found out about the log that it has written, whichever form it came in. */

export interface ImportedLog {
  readonly uuid: string;
  readonly epoch: number;
  /** The position the next record gets. */
  readonly position: number;
  readonly chain: string;
  /** False when the log was damaged where the export ends. */
  readonly complete: boolean;
}

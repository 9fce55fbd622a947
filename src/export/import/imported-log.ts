/** The log that an import has written. */
export interface ImportedLog {
  readonly uuid: string;
  readonly epoch: number;
  /** Position of the next record. */
  readonly position: number;
  readonly chain: string;
  /** False if the exported log was damaged at `position`. */
  readonly complete: boolean;
}

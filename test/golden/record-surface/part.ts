/** One golden file of the outer surface, and how its text is made from the program as it is now. */
export interface SurfacePart {
  /** Name of the file in test/golden/surface. */
  readonly file: string;
  readonly record: () => Promise<string>;
}

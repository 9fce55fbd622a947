/** Many may ask for a remote layer at once; who changes it must be alone. Nobody waits. */
export class Gates {
  readonly #holders = new Map<string, number>();

  tryShared(name: string): boolean {
    const holders = this.#holders.get(name) ?? 0;
    if (holders < 0) return false;
    this.#holders.set(name, holders + 1);
    return true;
  }

  tryAlone(name: string): boolean {
    if ((this.#holders.get(name) ?? 0) !== 0) return false;
    this.#holders.set(name, -1);
    return true;
  }

  leave(name: string): void {
    const holders = this.#holders.get(name) ?? 0;
    this.#holders.set(name, holders < 0 ? 0 : holders - 1);
  }
}

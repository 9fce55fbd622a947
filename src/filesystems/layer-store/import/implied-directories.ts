/**
 * Directories that an archive implies without holding them, found by what they are below. A tree
 * by path component, so that no archive makes the search for them slow.
 */
import type { ByteString } from '../../../tar/byte-string.js';

interface Node {
  readonly children: Map<ByteString, Node>;
  /** Nanoseconds since 1970; null for a directory that only leads to implied ones. */
  modified: bigint | null;
}

const emptyNode = (): Node => ({ children: new Map(), modified: null });

/** Paths begin with the root of the layer and have no empty components. */
export class ImpliedDirectories {
  private readonly top = emptyNode();

  /** Adds a directory and the time that it is to have. */
  add(path: ByteString, modified: bigint): void {
    let node = this.top;
    for (const component of path.split('/')) {
      let next = node.children.get(component);
      if (next === undefined) {
        next = emptyNode();
        node.children.set(component, next);
      }
      node = next;
    }
    node.modified = modified;
  }

  /** Removes what was added at a path and below it. */
  remove(path: ByteString): void {
    const components = path.split('/');
    const last = components.pop() ?? '';
    this.find(components)?.children.delete(last);
  }

  /** What was added below a path, parents first. */
  *below(path: ByteString): Generator<readonly [path: ByteString, modified: bigint]> {
    const top = this.find(path.split('/'));
    const pending: [Node, ByteString][] = top === undefined ? [] : [[top, path]];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const [node, at] = next;
      if (node.modified !== null && node !== top) yield [at, node.modified];
      for (const [component, child] of node.children) pending.push([child, `${at}/${component}`]);
    }
  }

  private find(components: readonly ByteString[]): Node | undefined {
    let node: Node | undefined = this.top;
    for (const component of components) node = node?.children.get(component);
    return node;
  }
}

/** Begins the files that are known to take minutes, so that the others fill the second worker. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const long = ['/test/faults/', '/test/e2e/remote.', '/test/conformance/'];

export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const index = long.findIndex((part) => moduleId.includes(part));
      return index < 0 ? long.length : index;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

/** What went wrong as an answer to the page: a status code, a sentence, and where in the log. */
import { reasonOf } from '../base/errors.js';
import { MomentUnknown } from '../inspect/archive/archive.js';
import { LogDamaged } from '../log/errors.js';
import type { Failure } from './wire.js';

/** A request that cannot be answered as it stands. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest';
}

export function failureOf(thrown: unknown): Failure {
  return {
    error: reasonOf(thrown),
    position: thrown instanceof LogDamaged ? thrown.position : null,
  };
}

export function codeOf(thrown: unknown): number {
  if (thrown instanceof BadRequest) return 400;
  return thrown instanceof MomentUnknown ? 404 : 500;
}

/** Converts errors to replies for the page: a status code, a message, and the position of damage. */
import { reasonOf } from '../base/errors.js';
import { MomentUnknown } from '../inspect/archive/archive.js';
import { LogDamaged } from '../log/errors.js';
import type { Failure } from './wire.js';

/** The request is malformed. */
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

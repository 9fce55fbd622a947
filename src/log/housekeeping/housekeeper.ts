/**
 * Work on full segments that can wait: indexes and checks. One segment at a time, not right after a
 * start or after a segment was filled, and with a rest between two, so that calls come first.
 */
import {
  concatMap,
  defer,
  exhaustMap,
  finalize,
  Observable,
  repeat,
  startWith,
  Subject,
  takeWhile,
  throttle,
  type Subscription,
} from 'rxjs';
import type { Clock } from '../../base/ports.js';

const WAIT_MILLIS = 5_000;
const REST_MILLIS = 250;

/**
 * Does `work` after a start and after each segment that is sealed, again and again until it answers
 * false. Several segments that are sealed meanwhile are one reason to look again.
 *
 * @param work handles its own errors: a rejection ends the housekeeping
 */
export function keepHouse(
  sealed: Observable<void>,
  clock: Clock,
  work: () => Promise<boolean>,
): Subscription {
  const after = (millis: number): Observable<void> =>
    new Observable((subscriber) =>
      clock.schedule(millis, () => {
        subscriber.next();
        subscriber.complete();
      }),
    );
  const rounds = defer(work).pipe(repeat({ delay: () => after(REST_MILLIS) }), takeWhile(Boolean));
  const ended = new Subject<void>();
  return sealed
    .pipe(
      startWith(undefined),
      throttle(() => ended, { leading: true, trailing: true }),
      exhaustMap(() =>
        after(WAIT_MILLIS).pipe(
          concatMap(() => rounds),
          finalize(() => {
            ended.next();
          }),
        ),
      ),
    )
    .subscribe();
}

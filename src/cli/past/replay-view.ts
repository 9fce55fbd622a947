/** The interactive replay on a terminal. The state of the terminal is always restored. */
import { emitKeypressEvents } from 'node:readline';
import type { Position } from '../../base/units.js';
import type { ReplaySteps } from '../../inspect/snapshot/replay-steps.js';
import { truncateLine, shortDigests, type Output } from '../terminal/print.js';
import { actionOf, frameLines, type Action, type Frame } from './replay-frame.js';
import { stdout } from '../terminal/result-writer.js';
import { waitFor, type Pace, type Wait } from './replay-pace.js';

export interface ViewOptions {
  readonly steps: ReplaySteps;
  readonly from: Position;
  /** The position at which the replay ends. */
  readonly to: Position;
  readonly pace: Pace;
  readonly speed: number;
  readonly isPlaying: boolean;
  readonly out: Output;
}

const enter = '\u001b[?1049h\u001b[?25l';
const leave = '\u001b[?25h\u001b[?1049l';
const home = '\u001b[H\u001b[J';
/** Above the maximum of --speed: replays a year in half a minute. */
const FASTEST = 2 ** 20;
const SLOWEST = 1 / 1024;

export async function viewReplay(options: ViewOptions): Promise<void> {
  const { stdin } = process;
  const view = new View(options);
  const quit = (): void => view.press('quit');
  const onKey = (_text: string | undefined, key: Parameters<typeof actionOf>[0]): void => {
    const action = actionOf(key);
    if (action !== null) view.press(action);
  };
  emitKeypressEvents(stdin);
  try {
    stdout.post(enter);
    stdin.setRawMode(true);
    stdin.on('keypress', onKey).on('end', quit).resume();
    process.on('SIGINT', quit).on('SIGTERM', quit).on('SIGHUP', quit);
    await view.run();
  } finally {
    stdin.off('keypress', onKey).off('end', quit).pause();
    process.off('SIGINT', quit).off('SIGTERM', quit).off('SIGHUP', quit);
    stdin.setRawMode(false);
    stdout.post(leave);
  }
}

class View {
  readonly #options: ViewOptions;
  readonly #pressed: Action[] = [];
  #wake: (() => void) | null = null;
  #speed: number;
  #isPlaying: boolean;

  constructor(options: ViewOptions) {
    this.#options = options;
    this.#speed = options.speed;
    this.#isPlaying = options.isPlaying;
  }

  press(action: Action): void {
    this.#pressed.push(action);
    this.#wake?.();
  }

  async run(): Promise<void> {
    for (;;) {
      const wait = this.#isPlaying ? await this.#nextWait() : null;
      this.#draw(wait);
      await stdout.settled();
      const action = this.#pressed.shift() ?? (await this.#next(wait));
      if (action === 'quit') return;
      await this.#act(action);
    }
  }

  async #act(action: Exclude<Action, 'quit'>): Promise<void> {
    const { steps, from, to } = this.#options;
    if (action === 'forward' && steps.position < to) await steps.forward();
    else if (action === 'back' && steps.position > from) await steps.back();
    else if (action === 'begin') await steps.goTo(from);
    else if (action === 'end') await steps.goTo(to);
    else if (action === 'play') this.#isPlaying = !this.#isPlaying;
    else if (action === 'faster') this.#speed = Math.min(this.#speed * 2, FASTEST);
    else if (action === 'slower') this.#speed = Math.max(this.#speed / 2, SLOWEST);
    if (steps.position >= to) this.#isPlaying = false;
  }

  async #nextWait(): Promise<Wait> {
    const { steps, pace } = this.#options;
    const [from, to] = [steps.last?.record.time ?? null, (await steps.peek())?.time ?? null];
    return waitFor({ pace, speed: this.#speed, from, to });
  }

  /** The action of the next key; during playback, `forward` after the delay. */
  #next(wait: Wait | null): Promise<Action> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = null;
        resolve(this.#pressed.shift() ?? 'forward');
      };
      const timer = wait === null ? undefined : setTimeout(done, wait.millis);
      this.#wake = done;
    });
  }

  #draw(wait: Wait | null): void {
    const { steps, to, pace, out } = this.#options;
    // A terminal of unknown size reports 0.
    const rows = process.stdout.rows > 0 ? process.stdout.rows : 24;
    const columns = process.stdout.columns > 0 ? process.stdout.columns : 80;
    const frame: Frame = {
      ...{ position: steps.position, next: to, step: steps.last, states: steps.states() },
      ...{ pace, speed: this.#speed, wait },
    };
    const { dim, bold } = out.colors;
    const paint = { now: bold, dim, none: (text: string) => text };
    const lines = frameLines(frame, rows).map(({ text, mark }) =>
      paint[mark](truncateLine(shortDigests(text), columns)),
    );
    stdout.post(home + lines.slice(0, rows).join('\r\n'));
  }
}

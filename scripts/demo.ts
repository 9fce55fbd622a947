/**
 * `npm run demo`: Stratalog is killed while a container runs, and the container never notices.
 *
 * Everything is real: an image pushed to a registry, a containerd of our own that pulls it
 * through Stratalog, runc containers, `kill -9`. Each step says what was proved, and a step that
 * is not as it should be ends the demo with exit code 1. Nothing is left on the machine.
 */
import { existsSync, readFileSync } from 'node:fs';
import pc from 'picocolors';
import { ask, renderAnswer, type Answered } from './demo/questions.js';
import { renderStory, storyOf } from './demo/story.js';
import { stratalog } from './rig/daemon.js';
import { directoriesInUse } from './rig/directories.js';
import { Rig } from './rig/rig.js';
import { sampleImage, stackCheck } from './rig/sample-image.js';
import { until } from './rig/wait.js';
import { closeOnSignals } from './rig/workspace.js';

const sample = { extraLayers: 2, bytesPerLayer: 256 * 1024, seed: 'the demo' };

/** Counts for ever; each count goes through a file of the container, which lies on our snapshot. */
const counting = `i=0; while :; do
  i=$((i+1)); echo $i > /app/count; test "$(cat /app/count)" = $i || echo broken
  ls /settings | grep -q new.conf || echo broken
  echo $i; sleep 0.1
done`;

let stepNumber = 0;

/** One line of the demo: what is done, and what that proved. */
async function step(title: string, work: () => Promise<string>): Promise<void> {
  stepNumber += 1;
  const proved = await work();
  const number = pc.bold(String(stepNumber).padStart(2));
  console.log(`${number}  ${pc.green('ok')}  ${title.padEnd(28)} ${pc.dim(proved)}`);
}

function mustBe(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

async function demo(rig: Rig): Promise<void> {
  const { ctr, daemon } = rig;
  const output = rig.workspace.path('counter.out');
  const countedLines = () => readFileSync(output, 'utf8').trim().split('\n');
  const reachesBeyond = (count: number) =>
    until(`the container counts beyond ${count}`, () => countedLines().length > count);
  const image = await sampleImage(sample);
  const layerCount = image.layers.length;
  let reference = '';
  let containerPid: number | undefined;
  const answers: Answered[] = [];
  const checkStack = async (id: string) => {
    const answer = await ctr.runOnce(reference, id, stackCheck(sample));
    mustBe(answer === 'stacked rightly\n', answer);
  };

  await step('Stratalog and containerd', async () => {
    const version = /Server:\s+Version:\s+(\S+)/.exec(await ctr.run('version'))?.[1] ?? '';
    return `process ${daemon.pid}, and a private containerd ${version} that uses it`;
  });

  await step('an image in a registry', async () => {
    reference = await rig.publish(image, 'demo');
    return `${layerCount} layers, with a whiteout and an opaque directory, at ${rig.registry.host}`;
  });

  await step('containerd pulls it', async () => {
    await ctr.pull(reference);
    const committed = (await ctr.snapshots()).filter((row) => row.kind === 'Committed');
    mustBe(
      committed.length === layerCount,
      `${committed.length} snapshots for ${layerCount} layers`,
    );
    return `${layerCount} committed snapshots in Stratalog, each on the one below`;
  });

  await step('the first container', async () => {
    await checkStack('first');
    return 'sees every layer; what upper layers hide is hidden';
  });

  await step('the second container', async () => {
    await ctr.start(reference, 'second', counting, output);
    await reachesBeyond(5);
    containerPid = (await ctr.task('second'))?.pid;
    return 'counts ten times a second, through its own file system';
  });

  await step('kill -9 Stratalog', async () => {
    const pid = daemon.pid;
    const atKill = countedLines().length;
    await daemon.crash();
    mustBe(!existsSync(`/proc/${pid}`), `process ${pid} is still there`);
    const left = { question: 'What did the crash leave? (asked before the second start)' };
    answers.push(await ask({ ...left, args: ['inspect'] }, daemon.root));
    await reachesBeyond(atKill + 10);
    return `process ${pid} is gone; the container counts on from ${atKill} to ${countedLines().length}`;
  });

  await step('start it again', async () => {
    const begin = performance.now();
    await daemon.start();
    const millis = Math.round(performance.now() - begin);
    await reachesBeyond(countedLines().length + 10);
    return `it answers after ${millis} ms; the container is at ${countedLines().length}`;
  });

  await step('the container never noticed', async () => {
    const task = await ctr.task('second');
    mustBe(task?.status === 'RUNNING', 'the second container has ended');
    mustBe(task?.pid === containerPid, 'the second container is another process than before');
    const numbers = countedLines();
    const gap = numbers.findIndex((text, index) => text !== String(index + 1));
    // The last line may be half written.
    mustBe(gap < 0 || gap >= numbers.length - 1, `it printed ${numbers[gap] ?? ''} at ${gap + 1}`);
    return `still process ${containerPid ?? ''}; every number from 1 to ${numbers.length}, no read or write failed`;
  });

  await step('the third container', async () => {
    // containerd waits up to 3 s before it calls again after a refused connection.
    await until('containerd has connected again', () => ctr.snapshots(), { pauseMillis: 200 });
    await checkStack('third');
    return 'runs on the layers that were pulled before the crash';
  });

  const beforeDelete = new Date().toISOString();

  await step('delete everything', async () => {
    await ctr.removeContainer('second');
    await ctr.removeImage(reference);
    mustBe((await ctr.snapshots()).length === 0, 'containerd still lists snapshots');
    await until(
      'garbage collection is through',
      async () => (await directoriesInUse(daemon.root)).length === 0,
    );
    return 'garbage collection left no snapshot and no directory';
  });

  await step('check the log', async () => {
    await daemon.stop();
    const { exitCode, stdout, stderr } = await stratalog('verify', '--root', daemon.root);
    mustBe(exitCode === 0, `${stdout}${stderr}`);
    return stdout.trim().split('\n').at(-1) ?? '';
  });

  const { exitCode, stdout, stderr } = await stratalog('log', '--root', daemon.root, '--json');
  mustBe(exitCode === 0, `stratalog log: ${stderr}`);
  const story = storyOf(stdout);
  console.log(`\nThe same story, as the log tells it (stratalog log --root …):\n`);
  console.log(renderStory(story));
  const starts = story.filter((row) => row.event === 'DaemonStarted').length;
  const stops = story.filter((row) => row.event === 'DaemonStopped').length;
  mustBe(starts === 2 && stops === 1, `${starts} starts and ${stops} orderly stops in the log`);

  const container = story.find(({ what }) => what.startsWith('active for second'));
  const directory = `${daemon.root}/snapshots/${container?.snapshot ?? ''}`;
  const whose = { question: 'Who owned that directory? It is gone.', args: ['who', directory] };
  const before = {
    question: 'What was there before the image was deleted?',
    args: ['state', '--at', beforeDelete, '--tree'],
  };
  answers.unshift(await ask(whose, daemon.root), await ask(before, daemon.root));
  console.log('\nThree questions, asked of the tools:');
  for (const answer of answers) {
    console.log(renderAnswer(answer));
    mustBe(
      answer.exitCode === 0,
      `stratalog ${answer.args[0] ?? ''} ended with ${answer.exitCode}`,
    );
  }
}

async function main(): Promise<void> {
  const begin = performance.now();
  console.log(pc.bold('\nStratalog: a crash that no container notices\n'));
  closeOnSignals();
  const rig = await Rig.start();
  try {
    await demo(rig);
  } catch (error) {
    console.error(`\n${pc.red('Stratalog’s own log ended:')}\n${rig.daemon.log().slice(-3000)}`);
    throw error;
  } finally {
    await rig.close();
  }
  const left = rig.workspace.leftovers();
  mustBe(left.length === 0, `left behind: ${left.join(', ')}`);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  console.log(`\nDone in ${seconds} s. No mount, process or file of it is left.`);
}

/** An error and what caused it, one to a line. */
function reasonsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return [error.message, ...(error.cause === undefined ? [] : [reasonsOf(error.cause)])].join(
    '\n  because: ',
  );
}

main().catch((error: unknown) => {
  console.error(`\n${pc.red('The demo failed.')} ${reasonsOf(error)}`);
  process.exitCode = 1;
});

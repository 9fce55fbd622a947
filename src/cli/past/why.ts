/** `stratalog why`: where a layer came from, and why. */
import { Command } from 'commander';
import { assertNever } from '../../base/assert.js';
import { formatTime } from '../../base/units.js';
import type { Archive } from '../../inspect/archive/archive.js';
import { durationInWords, durationMillis } from '../../inspect/events/durations.js';
import { livesOf, subjectsOf, type Subject } from '../../inspect/archive/subject.js';
import {
  labelledWith,
  parentIds,
  reasonFor,
  settingsBefore,
  type LayerReason,
  type Origin,
  type RemoteLookup,
} from '../../inspect/snapshot/why.js';
import { queryArchive, withArchiveOption, type ArchiveFlags } from '../args/archive-option.js';
import { withOutput, visible, type Output } from '../terminal/print.js';
import { noSuchSnapshot } from '../args/subject-argument.js';

interface Flags extends ArchiveFlags {
  readonly chain?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly trunc: boolean;
}

const examples = `
Examples:
  stratalog why sha256:1f8eea30a60e              one layer, by chain ID, key or id
  stratalog why --chain k8s.io/9/web             every layer below a container
  stratalog why docker.io/library/busybox:1      every layer labeled with the image

A request for an existing layer is not logged: the answer is always where it first came from. The log
does not have whether an image was pulled or was already in containerd (docker load, ctr image
import, a build). "Created locally" is a layer that a client wrote and committed, as a build,
\`docker commit\` and Docker's -init layers do.
Exits 1 if no layer matches.`;

export function whyCommand(): Command {
  return withArchiveOption(new Command('why'))
    .description('show where a layer came from: a remote file system, an image, or local changes')
    .argument('<key|id|digest|image>', 'a layer, or the name of an image in its labels')
    .option('--chain', 'include all layers below it')
    .option('--json', 'print one JSON object per layer')
    .option('-q, --quiet', 'print only the names of layers that were unpacked from an image')
    .option('--no-trunc', 'do not shorten digests')
    .addHelpText('after', examples)
    .action((text: string, flags: Flags) =>
      withOutput(flags, (out) => queryArchive(flags, (archive) => run(archive, text, flags, out))),
    );
}

async function run(archive: Archive, text: string, flags: Flags, out: Output): Promise<void> {
  const matches = await subjectsMatching(archive, text);
  const subjects = flags.chain === true ? await withChains(archive, matches) : matches;
  const settings = await settingsBefore(archive, subjects);
  const reasons = subjects.map((subject) => reasonFor(subject, settings.get(subject.id) ?? null));
  if (flags.json === true) {
    for (const reason of reasons) await out.json('why', jsonOf(reason));
  } else if (flags.quiet === true) {
    const unpacked = reasons.filter(({ origin }) => origin.kind === 'unpacked');
    await out.lines(unpacked.map(({ name }) => visible(name)));
  } else {
    const cells = reasons.map((reason) => [
      String(reason.id),
      formatTime(reason.time).replace(/\.\d+Z$/, 'Z'),
      visible(reason.name),
      visible(whatText(reason)),
    ]);
    await out.table(['ID', 'SINCE', 'NAME', 'WHY'], cells);
  }
}

/** @throws NotInLog */
async function subjectsMatching(archive: Archive, text: string): Promise<readonly Subject[]> {
  const named = await subjectsOf(archive, text);
  const subjects = named.length > 0 ? named : await labelledWith(archive, text);
  if (subjects.length > 0) return subjects;
  throw await noSuchSnapshot(archive, text, ', or a label that names this image');
}

/** Adds all ancestors. Parents come before their children, without duplicates. */
async function withChains(
  archive: Archive,
  subjects: readonly Subject[],
): Promise<readonly Subject[]> {
  const found = new Map(subjects.map((subject) => [subject.id, subject]));
  const waiting = [...subjects];
  for (let subject = waiting.pop(); subject !== undefined; subject = waiting.pop()) {
    for (const id of parentIds(subject)) {
      if (found.has(id)) continue;
      const [parent] = await livesOf(archive, [id]);
      if (parent === undefined) continue;
      found.set(id, parent);
      waiting.push(parent);
    }
  }
  return [...found.values()].sort((one, other) => one.id - other.id);
}

function jsonOf(reason: LayerReason): Readonly<Record<string, unknown>> {
  const { time, readyAfter, origin, ...more } = reason;
  return {
    ...more,
    time: formatTime(time),
    readyAfterMillis: readyAfter === null ? null : durationMillis(readyAfter),
    origin,
  };
}

function whatText({ origin, readyAfter, losses, isGone }: LayerReason): string {
  const after = readyAfter === null ? '' : `; a layer after ${durationInWords(readyAfter)}`;
  const [loss] = losses.slice(-1);
  const lost =
    loss === undefined
      ? ''
      : `; unavailable ${losses.length === 1 ? 'once' : `${losses.length} times`}: ${loss.reason}`;
  return `${originText(origin)}${after}${lost}${isGone ? '; removed since' : ''}`;
}

function originText(origin: Origin): string {
  switch (origin.kind) {
    case 'remote':
      return `mounted from ${origin.fileSystem}`;
    case 'unpacked':
      return `unpacked from an image: ${questionText(origin.question)}`;
    case 'made-here': {
      const { key, question } = origin;
      const remote = question.kind === 'no-target' ? '' : `; ${questionText(question)}`;
      return `created locally, committed from ${key}${remote}`;
    }
    case 'under-way':
      return `waiting for ${origin.fileSystem}`;
    case 'abandoned':
      return `abandoned: ${origin.reason}`;
    case 'no-layer':
      return origin.isUnpack
        ? `not a layer yet: an image is being unpacked: ${questionText(origin.question)}`
        : 'not a layer: an active snapshot or a view';
    case 'unknown':
      return `unknown: ${origin.why}`;
    default:
      return assertNever(origin);
  }
}

function questionText(question: RemoteLookup): string {
  switch (question.kind) {
    case 'refused':
      return `not available from ${question.fileSystem}: ${question.reason}`;
    case 'declined':
      return `the remote file system was not queried: ${question.reason}`;
    case 'no-file-system':
      return 'no remote file system was configured';
    case 'not-asked':
      return 'the remote file system was not queried';
    case 'no-target':
      return 'the client requested no remote layer (no target label)';
    case 'unknown':
      return question.why;
    default:
      return assertNever(question);
  }
}

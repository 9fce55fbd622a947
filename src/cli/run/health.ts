/** `stratalog health`: queries the health of the daemon on the socket that containerd uses. */
import { defaultConfigFile } from '../../daemon/config/config-file.js';
import { credentials, Metadata, status as grpcStatus } from '@grpc/grpc-js';
import { Command } from 'commander';
import { parseDuration } from '../../daemon/config/config-values.js';
import {
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthClient,
  type HealthCheckResponse,
  type HealthListResponse,
} from '../../api/generated/grpc/health/v1/health.js';
import { advisoryNames } from '../../api/grpc/health.js';
import { reasonsIn, type HealthReason } from '../../api/grpc/health-reasons.js';
import { UsageError } from '../../base/errors.js';
import { formatTime } from '../../base/units.js';
import { systemClock } from '../../host/process/clock.js';
import { addressOf, checkListening } from '../args/daemon-socket.js';
import { EXIT } from '../exit-codes.js';
import type { Output } from '../terminal/print.js';
import { withOutput, visible } from '../terminal/print.js';

interface Flags {
  readonly address?: string;
  readonly service?: string;
  readonly watch?: true;
  readonly timeout: string;
  readonly json?: true;
  readonly quiet?: true;
}

export function healthCommand(): Command {
  return new Command('health')
    .description('query the health of a running daemon; exits 1 if it is not serving')
    .option(
      '-a, --address <socket>',
      'socket of the daemon (default: $STRATALOG_ADDRESS, else the configured one)',
    )
    .option('-c, --config <file>', `configuration file (default: ${defaultConfigFile})`)
    .option('--service <name>', 'query only this service; "" is the whole server')
    .option('-w, --watch', 'print changes until interrupted')
    .option('--timeout <duration>', 'time limit for a response', '5s')
    .option('--json', 'print one JSON object per service')
    .option('-q, --quiet', 'print nothing, only set the exit code')
    .action((flags: Flags, command: Command) => withOutput({}, (out) => run(flags, command, out)));
}

async function run(flags: Flags, command: Command, out: Output): Promise<void> {
  const limitMillis = parseDuration(flags.timeout);
  if (limitMillis === null || limitMillis === 0) {
    throw new UsageError(
      `--timeout "${flags.timeout}": not a duration; use for example 5s or 500ms`,
    );
  }
  const address = await addressOf(flags, command);
  await checkListening(address, limitMillis);
  const client = new HealthClient(`unix:${address}`, credentials.createInsecure());
  try {
    const query = new HealthQuery(client, address, limitMillis);
    const statuses = await query.statuses(flags.service);
    await (flags.watch === true
      ? watchAll(client, [...statuses.keys()], flags, out)
      : report(statuses, query.reasons, flags, out));
  } finally {
    client.close();
  }
}

class HealthQuery {
  /** Why services are not serving, from the last response. */
  reasons: readonly HealthReason[] = [];

  constructor(
    private readonly client: HealthClient,
    private readonly address: string,
    private readonly limitMillis: number,
  ) {}

  /** The status of one service, or of all services of the server. */
  async statuses(service: string | undefined): Promise<Map<string, ServingStatus>> {
    if (service === undefined) {
      const { statuses } = await this.#ask<HealthListResponse>((deadline, done) =>
        this.client.list({}, new Metadata(), deadline, done),
      );
      return new Map([...statuses].map(([name, { status }]) => [name, status]));
    }
    const { status } = await this.#ask<HealthCheckResponse>((deadline, done) =>
      this.client.check({ service }, new Metadata(), deadline, done),
    );
    return new Map([[service, status]]);
  }

  #ask<Answer>(
    call: (
      options: { readonly deadline: number },
      done: (fault: { code: grpcStatus; details: string } | null, answer: Answer) => void,
    ) => { on(event: 'metadata', listener: (metadata: Metadata) => void): unknown },
  ): Promise<Answer> {
    return new Promise((settle, reject) => {
      const deadline = Number(systemClock().now() / 1_000_000n) + this.limitMillis;
      call({ deadline }, (fault, answer) => {
        if (fault === null) settle(answer);
        else reject(this.#explained(fault.code, fault.details));
      }).on('metadata', (metadata) => {
        this.reasons = reasonsIn(metadata);
      });
    });
  }

  #explained(code: grpcStatus, details: string): Error {
    if (code === grpcStatus.DEADLINE_EXCEEDED) {
      return new Error(
        `no response from ${this.address} within ${this.limitMillis} ms: ` +
          'the daemon hangs, or another program listens there',
      );
    }
    if (code === grpcStatus.NOT_FOUND) {
      return new Error(`${this.address}: ${details}; omit --service to list all services`);
    }
    return new Error(`${this.address}: ${grpcStatus[code]}: ${details}`);
  }
}

async function report(
  statuses: ReadonlyMap<string, ServingStatus>,
  reasons: readonly HealthReason[],
  flags: Flags,
  out: Output,
): Promise<void> {
  const reasonsFor = (service: string) =>
    reasons.flatMap(({ reason, affects }) => (affects.includes(service) ? [reason] : []));
  const rows = [...statuses].sort(([one], [other]) => (one < other ? -1 : 1));
  if (!areServing(statuses, flags)) process.exitCode = EXIT.failed;
  if (flags.quiet === true) return;
  if (flags.json === true) {
    for (const [service, status] of rows) {
      const fields = { service, status: ServingStatus[status], reasons: reasonsFor(service) };
      await out.json('health', fields);
    }
    return;
  }
  const cells = rows.map(([service, status]) => [nameOf(service), painted(status, out)]);
  await out.table(['SERVICE', 'STATUS'], cells);
  const distinct = new Set(rows.flatMap(([service]) => reasonsFor(service)));
  await out.lines([...distinct].map(visible));
}

/** A requested service always counts. Otherwise advisory services do not. */
function areServing(statuses: ReadonlyMap<string, ServingStatus>, { service }: Flags): boolean {
  const names: readonly string[] = advisoryNames;
  return [...statuses].every(([name, status]) => {
    const counts = service !== undefined || !names.includes(name);
    return !counts || status === ServingStatus.SERVING;
  });
}

/** Watches until a signal arrives, or the server ends a stream because it is stopping. */
async function watchAll(
  client: HealthClient,
  services: readonly string[],
  flags: Flags,
  out: Output,
): Promise<void> {
  const last = new Map<string, ServingStatus>();
  const streams = services.map((service) => ({ service, stream: client.watch({ service }) }));
  const ended = new Promise<Error | null>((settle) => {
    process.once('SIGINT', () => settle(null)).once('SIGTERM', () => settle(null));
    for (const { service, stream } of streams) {
      stream.on('data', ({ status }: HealthCheckResponse) => {
        last.set(service, status);
        printChange(service, status, flags, out).catch(settle);
      });
      stream.on('error', settle);
      stream.on('end', () => settle(new Error('the daemon has ended the watch: it is stopping')));
    }
  });
  const fault = await ended;
  // Closing the client leaves open streams open, and they keep the process alive.
  for (const { stream } of streams) stream.cancel();
  if (fault !== null) throw fault;
  process.exitCode = areServing(last, flags) ? EXIT.ok : EXIT.failed;
}

async function printChange(
  service: string,
  status: ServingStatus,
  flags: Flags,
  out: Output,
): Promise<void> {
  const time = formatTime(systemClock().now());
  if (flags.json === true) {
    await out.json('health', { time, service, status: ServingStatus[status] });
  } else if (flags.quiet !== true) {
    await out.line(`${out.colors.dim(time)}  ${nameOf(service)}  ${painted(status, out)}`);
  }
  await out.flush();
}

const nameOf = (service: string): string => (service === '' ? '(server)' : visible(service));

function painted(status: ServingStatus, { colors }: Output): string {
  const name = ServingStatus[status];
  return status === ServingStatus.SERVING ? colors.green(name) : colors.red(name);
}

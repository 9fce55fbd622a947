/** What a server does first: the frame with which HTTP/2 begins, and the answer to a call. */
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';

/** The client's magic, and an empty SETTINGS frame (RFC 9113, section 3.4). */
const preface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);
const frameHeaderBytes = 9;
const settingsType = 4;

/**
 * Connects as grpc-go does and resolves with the server's SETTINGS, which must be its first frame.
 * Rejects if there is no server, or if it closes the connection.
 */
export function firstFrame(socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let header = Buffer.alloc(0);
    const settle = (fault?: Error): void => {
      socket.destroy();
      if (fault === undefined) resolve();
      else reject(fault);
    };
    socket.once('connect', () => socket.write(preface));
    socket.once('error', settle);
    socket.once('close', () => settle(new Error('the server closed the connection')));
    socket.on('data', (bytes: Buffer) => {
      header = Buffer.concat([header, bytes]);
      if (header.length < frameHeaderBytes) return;
      const type = header[3];
      settle(type === settingsType ? undefined : new Error(`the first frame is of type ${type}`));
    });
  });
}

export interface Answer {
  /** The gRPC status code. */
  readonly status: number;
  /** What the status says in words. */
  readonly details: string;
  /** Of the first message, without its head. */
  readonly message: Buffer;
}

/** A call with an empty request. Rejects if there is no server, or if the connection is lost. */
export function answerOf(socketPath: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2('http://localhost', {
      createConnection: () => connect(socketPath),
    });
    session.once('error', reject);
    session.once('close', () => reject(new Error('the server closed the connection')));
    const call = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const parts: Buffer[] = [];
    const settle = (headers: Readonly<Record<string, unknown>>): void => {
      const status = headers['grpc-status'];
      if (status === undefined) return;
      const text = headers['grpc-message'];
      const details = typeof text === 'string' ? decodeURIComponent(text) : '';
      resolve({ status: Number(status), details, message: Buffer.concat(parts).subarray(5) });
      session.destroy();
    };
    call.once('error', reject);
    call.on('response', settle);
    call.on('trailers', settle);
    call.on('data', (bytes: Buffer) => parts.push(bytes));
    call.end(Buffer.alloc(5));
  });
}

/** `status: SERVING` of a HealthCheckResponse. */
const serving = Buffer.from([8, 1]);

/**
 * Whether the server behind the socket answers the calls of its services: by its health service,
 * or because it has none. A connection that is accepted does not prove that.
 */
export async function serves(socketPath: string): Promise<boolean> {
  try {
    const { status, message } = await answerOf(socketPath, '/grpc.health.v1.Health/Check');
    return status !== 0 || message.equals(serving);
  } catch {
    return false;
  }
}

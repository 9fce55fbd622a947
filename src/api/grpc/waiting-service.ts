/**
 * A service that is registered before it is ready. The socket is served as soon as the root is
 * locked; calls that arrive during the replay wait here, each within its own budget.
 */
import type {
  MethodDefinition,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { orAborted } from '../../base/abort.js';
import { CallContext, rememberArrival, type AnyCall } from './call-context.js';
import type { ServiceRegistration } from './server.js';
import { statusOfThrown, type CallStatus } from './status.js';

export interface WaitingServiceOptions {
  readonly definition: ServiceDefinition;
  readonly subscriptions?: readonly string[];
  /** Milliseconds that a call of the method may wait; null for no limit. */
  readonly budgetOf: (method: string) => number | null;
}

type Call = AnyCall & { emit(event: 'error', status: CallStatus): unknown };
type Reply = (status: CallStatus) => void;
type Handler = (call: Call, reply?: Reply) => void;

export class WaitingService implements ServiceRegistration {
  readonly definition: ServiceDefinition;
  readonly subscriptions: readonly string[];
  readonly implementation: UntypedServiceImplementation;
  #answering: UntypedServiceImplementation | null = null;
  /** Resolves with `answerWith`, rejects with `refuse`. */
  readonly #ready: Promise<UntypedServiceImplementation>;
  #settle: {
    resolve(implementation: UntypedServiceImplementation): void;
    reject(reason: Error): void;
  } | null = null;

  constructor(private readonly options: WaitingServiceOptions) {
    const { definition, subscriptions = [] } = options;
    this.definition = definition;
    this.subscriptions = subscriptions;
    this.#ready = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Otherwise the rejection is unhandled when no call is waiting.
    this.#ready.catch(() => undefined);
    this.implementation = Object.fromEntries(
      Object.entries(definition).map(([name, method]) => [name, this.#handlerOf(name, method)]),
    );
  }

  /** Starts the waiting calls in order of arrival. */
  answerWith(implementation: UntypedServiceImplementation): void {
    this.#answering = implementation;
    this.#settle?.resolve(implementation);
  }

  /** Fails the waiting calls, and all later ones, with this reason. */
  refuse(reason: Error): void {
    this.#settle?.reject(reason);
  }

  #handlerOf(name: string, method: MethodDefinition<unknown, unknown>): UntypedHandleCall {
    const handle: Handler = (call, reply) => {
      if (this.#answering === null) void this.#wait(name, method, call, reply);
      else begin(this.#answering, name, call, reply);
    };
    return handle as UntypedHandleCall;
  }

  async #wait(
    name: string,
    method: MethodDefinition<unknown, unknown>,
    call: Call,
    reply?: Reply,
  ): Promise<void> {
    rememberArrival(call);
    const [methodName = name] = method.path.split('/').slice(-1);
    const context = new CallContext(call, methodName, this.options.budgetOf(name));
    try {
      begin(await orAborted(this.#ready, context.signal), name, call, reply);
    } catch (thrown) {
      const status = statusOfThrown(thrown);
      if (reply !== undefined) reply(status);
      else if (!call.cancelled) call.emit('error', status);
    } finally {
      context.end();
    }
  }
}

function begin(
  implementation: UntypedServiceImplementation,
  name: string,
  call: Call,
  reply?: Reply,
): void {
  const handler = implementation[name] as unknown as Handler;
  handler(call, reply);
}

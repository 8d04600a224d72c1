import { asWhiprayError, type Clock, delay, WhiprayError } from "@whipray/core";
import {
  actorHost,
  decodeValues,
  type Endpoint,
  type Infer,
  type Peer,
  type Revive,
  type TaskFunction,
  taskBlocked,
  taskDefine,
  taskHost,
  type WorkingCopy,
  workerExit,
} from "@whipray/rpc";
import { ActorHost } from "./actor-host.ts";
import type { ActorClass, ActorMethod } from "./actor-methods.ts";
import { type ActorContext, setContext } from "./context.ts";
import { isStored, type ObjectAccess, openArguments } from "./object-access.ts";
import { TaskHost } from "./task-host.ts";
import { TaskWaits } from "./task-waits.ts";

export type HostRequest = Infer<(typeof actorHost)["request"]>;

export interface WorkerOptions {
  endpoint: Endpoint;
  raylet: Peer;
  objects: ObjectAccess;
  nodeId: string;
  workerId: string;
  pid: number;
  cluster: string;
  socket: string;
  clock: Clock;
  loadClass: (request: HostRequest) => Promise<ActorClass>;
  loadFunction: (exported: TaskFunction, copy: WorkingCopy | undefined) => Promise<ActorMethod>;
  /** Makes refs and handles among arguments alive in this process. */
  revive?: Revive | undefined;
  /** Puts the actor's environment in place; called before the module is imported. */
  setEnvironment: (env: Readonly<Record<string, string>>) => void;
  expectEngine: ActorContext["expectEngine"];
  /** Ends the process with this code. */
  exit: (code: number) => void;
}

/** Time that an actor's own clean-up has when the process leaves and nobody said otherwise. */
const LEAVE_GRACE_MS = 5_000;

/** A worker process: blank until its raylet makes it one actor, or a host of one job's tasks, for life (design.md, mechanism 12). */
export class Worker {
  readonly #options: WorkerOptions;
  #host: ActorHost | undefined;
  #tasks: TaskHost | undefined;
  #leaving = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { endpoint } = options;
    endpoint.serve(actorHost, (request) => this.#become(request));
    endpoint.serve(taskHost, (request) => this.#becomeTaskHost(request));
    endpoint.serve(taskDefine, async (exported, call) => {
      if (!this.#tasks) throw new WhiprayError({ code: "NO_TASKS", message: "This worker runs no tasks" });
      await this.#tasks.define(call.peer, exported);
      return null;
    });
    endpoint.serve(workerExit, ({ graceMs }) => {
      setImmediate(() => void this.leave(graceMs));
      return null;
    });
    endpoint.onCall((call) => {
      if (this.#host) this.#host.handle(call);
      else if (this.#tasks) this.#tasks.handle(call);
      else
        call.fail(
          new WhiprayError({ code: "ACTOR_NOT_FOUND", message: "This worker hosts no actor yet", retryable: true }),
        );
    });
  }

  async #become(request: HostRequest): Promise<null> {
    this.#checkBlank();
    const { endpoint, raylet, objects, nodeId, workerId, cluster, socket, expectEngine } = this.#options;
    const { spec, epoch, devices, head, workingCopy } = request;
    this.#options.setEnvironment(request.env);
    setContext({
      actorId: spec.actorId,
      nodeId,
      workerId,
      cluster,
      jobId: spec.jobId,
      namespace: spec.namespace,
      epoch,
      spec,
      devices,
      endpoint,
      raylet,
      objects,
      head,
      socket,
      expectEngine,
      runtimeEnv: spec.runtimeEnv,
      workingCopy,
    });
    try {
      const cls = await this.#options.loadClass(request);
      const given = (request.args.length > 0 ? decodeValues(request.args, this.#options.revive) : []) as unknown[];
      const args = given.some(isStored) ? await openArguments(given, objects, this.#options.revive) : given;
      const leave = (): void => void this.leave(LEAVE_GRACE_MS);
      const where = { node: nodeId, process: workerId, actor: spec.actorId, pid: this.#options.pid };
      this.#host = new ActorHost(spec, epoch, cls, args, leave, where, this.#options.revive, objects);
      await this.#host.start();
    } catch (error) {
      throw asWhiprayError(error, "CREATION_FAILED").at({ actor: spec.actorId, node: nodeId });
    }
    return null;
  }

  #becomeTaskHost(request: Infer<(typeof taskHost)["request"]>): null {
    this.#checkBlank();
    const { jobId, namespace, devices, env, head, runtimeEnv, workingCopy } = request;
    const { endpoint, raylet, objects, nodeId, workerId, cluster, socket, clock, revive, loadFunction } = this.#options;
    this.#options.setEnvironment(env);
    const waits = new TaskWaits(clock, (blocked) => {
      if (blocked) this.#tasks?.handBack();
      // A call, not a oneway: one that is lost with a route would leave the CPU taken that this task is to run on.
      raylet.invoke(taskBlocked, { blocked }).catch(() => {}); // with its raylet this process ends
    });
    setContext({
      ...{ nodeId, workerId, cluster, jobId, namespace, devices, endpoint, raylet, objects, head, socket, waits },
      ...{ runtimeEnv, workingCopy },
    });
    const load = (exported: TaskFunction) => loadFunction(exported, workingCopy);
    this.#tasks = new TaskHost({
      ...{ loadFunction: load, revive, objects, waits },
      where: { node: nodeId, process: workerId, pid: this.#options.pid },
    });
    return null;
  }

  #checkBlank(): void {
    if (!this.#host && !this.#tasks) return;
    throw new WhiprayError({
      code: "ALREADY_HOSTING",
      message: "A worker hosts one actor, or the tasks of one job, in its life",
    });
  }

  /** Ends the process: the actor cleans up for at most `graceMs`, what is queued for sending goes out. */
  async leave(graceMs: number): Promise<void> {
    if (this.#leaving) return;
    this.#leaving = true;
    try {
      await Promise.race([this.#host?.dispose(), delay(this.#options.clock, graceMs)]);
    } catch (error) {
      // The process ends either way; its log tells why the clean-up failed.
      process.stderr.write(`clean-up of the actor failed: ${String(error)}\n`);
    }
    await this.#options.endpoint.close();
    this.#options.exit(0);
  }
}

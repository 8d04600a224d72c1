import { writeFileSync } from "node:fs";
import { type ActorHandle, currentCluster, type ObjectRef } from "../src/index.ts";

/** An actor that leaves a note when it cleans up. */
export class Held implements AsyncDisposable {
  readonly #note: string;
  #gate = Promise.withResolvers<void>();

  constructor(note: string) {
    this.#note = note;
  }
  async ping(): Promise<string> {
    return "pong";
  }
  async hold(): Promise<string> {
    await this.#gate.promise;
    return "held";
  }
  async open(): Promise<void> {
    this.#gate.resolve();
  }
  async devices(): Promise<string | undefined> {
    return process.env["CUDA_VISIBLE_DEVICES"];
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#note) writeFileSync(this.#note, "cleaned up");
  }
}

/** Keeps a handle of another actor, passes it on, or makes one. */
export class Keeper {
  #kept: ActorHandle<Held> | undefined;

  constructor(kept?: ActorHandle<Held>) {
    this.#kept = kept;
  }
  keep(handle: ActorHandle<Held>): void {
    this.#kept = handle;
  }
  async ask(): Promise<string> {
    return this.#kept!.ping();
  }
  drop(): void {
    this.#kept![Symbol.dispose]();
  }
  async passOn(to: ActorHandle<Keeper>): Promise<void> {
    await to.keep(this.#kept!);
  }
  async make(): Promise<ActorHandle<Held>> {
    this.#kept = await currentCluster()!
      .actor<Held>(new URL(import.meta.url), "Held")
      .create("");
    return this.#kept;
  }
  async keepFrom({ box }: { box: ObjectRef<{ handle: ActorHandle<Held> }> }): Promise<void> {
    this.#kept = (await currentCluster()!.get(box)).handle;
  }
  async askThrough({ made }: { made: ObjectRef<ActorHandle<Held>> }): Promise<string> {
    using handle = await currentCluster()!.get(made);
    return await handle.ping();
  }
  async readFrom(box: { handle: ActorHandle<Held> }): Promise<string> {
    using handle = box.handle;
    return await handle.ping();
  }
}

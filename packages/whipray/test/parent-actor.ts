import { type ActorOptions, currentCluster, currentPlacementGroup, type TaskOptions } from "../src/index.ts";
import type { square } from "./sample-tasks.ts";

/** Where an actor is, as it sees it itself and as the head has it. */
export interface Seat {
  groupId: string | null;
  bundle: number | undefined;
  bundles: number | undefined;
  env: string | undefined;
}

/** An actor that makes actors of its own kind. */
export class Parent {
  async group(): Promise<{ id: string; bundles: number } | null> {
    const group = await currentPlacementGroup();
    return group ? { id: group.id, bundles: group.bundleSpecs.length } : null;
  }

  env(name: string): string | undefined {
    return process.env[name];
  }

  /** Makes an actor with these options and says where it is: its group by its own word, its bundle by the head's. */
  async child(options: ActorOptions): Promise<Seat> {
    const { child, seat } = await this.#make(options);
    await currentCluster()!.kill(child);
    return seat;
  }

  /** Runs a task with these options. */
  async task(options: TaskOptions): Promise<number> {
    const url = new URL("./sample-tasks.ts", import.meta.url);
    return currentCluster()!.task<typeof square>(url, "square").options(options)(3);
  }

  /** Where the child of a child is, when only the first was given options. */
  async grandchild(options: ActorOptions): Promise<Seat> {
    const { child } = await this.#make(options);
    try {
      return await child.child({ numCpus: 0 });
    } finally {
      await currentCluster()!.kill(child);
    }
  }

  async #make(options: ActorOptions) {
    const cluster = currentCluster()!;
    const child = await cluster
      .actor<Parent>(new URL(import.meta.url), "Parent")
      .options(options)
      .create();
    const group = await child.group();
    const env = await child.env("CUDA_VISIBLE_DEVICES");
    const { bundleIndex } = await cluster.actorRow(child);
    return { child, seat: { groupId: group?.id ?? null, bundle: bundleIndex, bundles: group?.bundles, env } };
  }
}

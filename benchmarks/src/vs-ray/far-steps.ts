import { execFile } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ActorHandle, Cluster } from "whipray";
import type { Running, Start } from "./steps.ts";
import type { AsyncActor } from "./targets.ts";

const TARGETS = new URL("./targets.ts", import.meta.url);
const WHIPRAY_CLI = fileURLToPath(new URL("../../node_modules/.bin/whipray", import.meta.url));
const run = promisify(execFile);
const MIB = 1_048_576;

export interface FarNode {
  pid: number;
  stop(): Promise<void>;
}

/** Rows with a second raylet: foreign, with a home and runtime directory of its own. */
export const FAR_STEPS: Readonly<Record<string, Start>> = {
  "cross-sync": (cluster) => withFar(cluster, (actor) => () => actor.smallValue()),
  "cross-64-mib": (cluster) =>
    withFar(cluster, (actor) => {
      const array = new Uint8Array(64 * MIB).fill(1);
      return async () => {
        using ref = await cluster.put(array);
        if ((await actor.firstAndLast(ref)) !== 2) throw new Error("the far actor read something else than was put");
      };
    }),
  "node-killed": (cluster) => ({
    figure: async () => {
      const far = await startFar();
      try {
        const actor = await farActor(cluster);
        const pending = actor.sleep().then(
          () => new Error("the call ended well"),
          (error: unknown) => error,
        );
        await actor.pid();
        const startedAt = performance.now();
        process.kill(far.pid, "SIGKILL");
        const error = await pending;
        const ms = performance.now() - startedAt;
        if (!/Died|Unavailable/.test((error as Error).name)) throw error;
        return ms;
      } finally {
        await far.stop();
      }
    },
  }),
};

async function withFar(cluster: Cluster, step: (actor: ActorHandle<AsyncActor>) => () => unknown): Promise<Running> {
  const far = await startFar();
  const actor = await farActor(cluster);
  return {
    step: step(actor),
    end: async () => {
      await cluster.kill(actor);
      await far.stop();
    },
  };
}

/** An actor on the node that was started under this name. */
export async function farActor(cluster: Cluster, name = "far"): Promise<ActorHandle<AsyncActor>> {
  const actor = await cluster
    .actor<AsyncActor>(TARGETS, "AsyncActor")
    .options({ numCpus: 0, resources: { [name]: 0.001 } })
    .create();
  await actor.pid();
  return actor;
}

let serial = 0;
/** A raylet with a home of its own, and one unit of the resource `name`. */
export async function startFar(name = "far"): Promise<FarNode> {
  const near = process.env["HOME"]!;
  const home = join(near, `far${++serial}`);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const env = { ...process.env, HOME: home };
  const token = join(near, ".config/whipray/join-token");
  const start = ["start", "--address", process.env["WHIPRAY_ADDRESS"]!, "--join-token-file", token, "--second-raylet"];
  const what = ["--resources", JSON.stringify({ [name]: 1 }), "--num-cpus", "2", "--json"];
  const { stdout } = await run(process.execPath, [WHIPRAY_CLI, ...start, ...what], { env });
  const { nodeId } = JSON.parse(stdout) as { nodeId: string };
  const { pid } = JSON.parse(readFileSync(join(home, `.cache/whipray/daemons/${nodeId}.json`), "utf8")) as FarNode;
  return { pid, stop: async () => void (await run(process.execPath, [WHIPRAY_CLI, "stop"], { env })) };
}

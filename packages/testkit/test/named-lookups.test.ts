import { expect, test } from "vitest";
import type { Cluster } from "whipray";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { Resident } from "./fixtures/resident.ts";
import { until } from "./outside.ts";

const RESIDENT = new URL("./fixtures/resident.ts", import.meta.url);
const TEST_MS = 120_000;
const PATIENCE_MS = 30_000;
let real: RealCluster | undefined;

endAfterEach(() => real, TEST_MS);

/** The actor's id by its name; undefined when there is none. */
const lookUp = (cluster: Cluster): Promise<string | undefined> =>
  cluster.getActor("one").then(
    (handle) => JSON.parse(JSON.stringify(handle)) as string,
    (error: unknown) => {
      if ((error as { code?: string }).code === "ACTOR_NOT_FOUND") return undefined;
      throw error;
    },
  );

/** Looks up without a pause, so that the name is always known here, until `over`. */
async function keepLooking(cluster: Cluster, over: () => boolean): Promise<number> {
  let looks = 0;
  for (; !over(); looks++) {
    await lookUp(cluster);
    await new Promise(setImmediate);
  }
  return looks;
}

test(
  "Ray 8.48: once one driver can know that a named actor is dead, another that looked it up a moment ago finds the next one or none: kills, SIGKILL, a killed head",
  async () => {
    real = await startCluster({ raylets: [{ name: "n0", resources: { CPU: 4 } }] });
    const writer = await real.connect({ namespace: "team" });
    const readers = [await real.connect({ namespace: "team" }), await real.connect({ namespace: "team" })];
    let over = false;
    const looking = Promise.all(readers.map((reader) => keepLooking(reader, () => over)));
    const make = () =>
      writer.actor<Resident>(RESIDENT, "Resident").options({ name: "one", lifetime: "detached", numCpus: 0 }).create();
    const everywhere = () => Promise.all([writer, ...readers].map(lookUp));
    const nowhere = [undefined, undefined, undefined];
    try {
      for (let round = 0; round < 12; round++) {
        const actor = await make();
        await writer.ready(actor);
        const { actorId, pid } = await writer.actorRow(actor);
        expect(await everywhere()).toEqual([actorId, actorId, actorId]);
        if (round === 8) await real.head.restart();
        if (round % 3 === 0) {
          process.kill(pid!, "SIGKILL");
          await until("its end is on the list", PATIENCE_MS, async () =>
            (await writer.listActors()).some((row) => row.actorId === actorId && row.state === "DEAD"),
          );
        } else if (round % 3 === 1) await writer.terminate(actor).then(() => writer.kill(actor));
        else await writer.kill(actor);
        expect(await everywhere()).toEqual(nowhere);
      }
    } finally {
      over = true;
    }
    expect(Math.min(...(await looking))).toBeGreaterThan(12);
  },
  TEST_MS,
);

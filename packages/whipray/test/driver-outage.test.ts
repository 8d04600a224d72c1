import { SimulatedClock, seededIds, seededRandom, silentLogger } from "@whipray/core";
import { jobOpen, MemoryNetwork, nodesList, WireEndpoint } from "@whipray/rpc";
import { expect, test } from "vitest";
import { Driver } from "../src/driver.ts";
import type { ObjectStore } from "../src/object-store.ts";

for (const outageMs of [5_000, 60_000, 590_000]) {
  test(`F6: a driver finds its head again after ${outageMs} ms and opens its job again by itself`, async () => {
    const clock = new SimulatedClock();
    const network = new MemoryNetwork(clock);
    const random = seededRandom(1);
    const services = { clock, ids: seededIds(random), random, logger: silentLogger };
    const opened: string[] = [];
    const startHead = () => {
      const endpoint = new WireEndpoint({
        ...services,
        ...{ address: "head/head", role: "head", token: "", transport: network.at("head"), admit: () => {} },
      });
      endpoint.serve(jobOpen, ({ jobId }) => {
        opened.push(jobId);
        return { jobId, namespace: "n", cluster: "cluster_a", headInc: endpoint.incarnation };
      });
      endpoint.serve(nodesList, () => ({ nodes: [] }));
      const listener = network.listen("head", (channel) => {
        endpoint.accept(channel);
      });
      return async () => {
        await listener.close();
        network.cut(() => true);
      };
    };
    const kill = startHead();
    const endpoint = new WireEndpoint({
      ...services,
      ...{ address: "head/driver_a", role: "driver", token: "", transport: network.at("driver") },
    });
    const driver = new Driver(
      { endpoint, headUrl: "memory:head", localNode: undefined, ...services },
      {} as ObjectStore,
      "job_a",
    );
    await settled(clock, driver.open("n", 5_000));
    await kill();
    await clock.run(outageMs);
    startHead();
    await clock.run(5_000);
    expect(opened).toEqual(["job_a", "job_a"]);
    expect(await settled(clock, driver.ask(nodesList, {}))).toEqual({ nodes: [] });
    await endpoint.close();
  });
}

async function settled<T>(clock: SimulatedClock, promise: Promise<T>): Promise<T> {
  let done = false;
  const mark = () => {
    done = true;
  };
  promise.then(mark, mark);
  for (let spentMs = 0; !done && spentMs < 60_000; spentMs += 10) await clock.run(10);
  return promise;
}

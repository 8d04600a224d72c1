import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ActorHandle, Cluster } from "whipray";
import type {
  Actor,
  AsyncActor,
  Client,
  put80Mib10,
  putSmall100,
  roundRobin,
  smallValue,
  tenThousandRefs,
} from "./targets.ts";

const TARGETS = new URL("./targets.ts", import.meta.url);
const FIRST = fileURLToPath(new URL("./first.ts", import.meta.url));
const run = promisify(execFile);
const MIB = 1_048_576;
/** As in Ray's own file: half the cores. */
const HALF = Math.max(1, availableParallelism() >> 1);

/** What a row does once, and what takes down what it made. A figure is something else than a rate: milliseconds, say. */
export interface Running {
  step?: () => unknown;
  figure?: () => Promise<number>;
  /** Seconds that single steps of an open loop took. */
  latencies?: (seconds: number) => Promise<number[]>;
  end?: () => unknown;
}

export type Start = (cluster: Cluster, scale: number) => Promise<Running> | Running;

const times = (count: number, scale: number): number => Math.max(1, Math.round(count * scale));
const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

/** The loops of `benchmarks/ray/ray_rows.py`, on Whipray. Each has the same name there. */
export const STEPS: Readonly<Record<string, Start>> = {
  "get-small": async (cluster) => {
    const ref = await cluster.put(0);
    return { step: () => cluster.get(ref), end: () => ref.dispose() };
  },
  // In Ray a ref that nobody holds is freed; here the loop says so.
  "put-small": (cluster) => ({ step: async () => (await cluster.put(0)).dispose() }),
  "multi-put-small": (cluster) => {
    const task = cluster.task<typeof putSmall100>(TARGETS, "putSmall100");
    return { step: () => cluster.get(many(10, () => task.remote())) };
  },
  "put-gigabytes": (cluster) => {
    const array = new BigInt64Array(100 * MIB);
    return { step: async () => (await cluster.put(array)).dispose() };
  },
  "multi-put-gigabytes": (cluster) => {
    const task = cluster.task<typeof put80Mib10>(TARGETS, "put80Mib10");
    return { step: () => cluster.get(many(10, () => task.remote())) };
  },
  "get-10k-refs": async (cluster) => {
    const ref = cluster.task<typeof tenThousandRefs>(TARGETS, "tenThousandRefs").remote();
    await cluster.get(ref);
    return { step: () => cluster.get(ref), end: () => ref.dispose() };
  },
  "wait-1k-refs": (cluster) => {
    const task = small(cluster);
    return {
      step: async () => {
        let pending = many(1_000, () => task.remote());
        while (pending.length > 0) [, pending] = await cluster.wait(pending);
      },
    };
  },
  "tasks-sync": (cluster) => {
    const task = small(cluster);
    return { step: () => task() };
  },
  "tasks-and-get-batch": (cluster) => taskBatch(cluster),
  "tasks-async": (cluster) => taskBatch(cluster),
  "multi-tasks-async": async (cluster, scale) => {
    const n = times(10_000, scale);
    const actors = await Promise.all(many(4, () => actor(cluster)));
    return {
      step: () => Promise.all(actors.map((each) => each.smallValueBatch(n))),
      end: () => killAll(cluster, actors),
    };
  },
  "actor-sync": (cluster) => calls(cluster, "Actor", 1),
  "actor-async": (cluster) => calls(cluster, "Actor", 1_000),
  "actor-concurrent": (cluster) => calls(cluster, "Actor", 1_000, 16),
  "async-actor-sync": (cluster) => calls(cluster, "AsyncActor", 1),
  "async-actor-async": (cluster) => calls(cluster, "AsyncActor", 1_000),
  "async-actor-args": async (cluster) => {
    const one = await actor(cluster, "AsyncActor");
    return { step: () => Promise.all(many(1_000, (i) => one.smallValueArg(i))), end: () => cluster.kill(one) };
  },
  "actor-1-n": (cluster, scale) => oneToMany(cluster, scale, "Actor"),
  "actor-n-n": (cluster, scale) => manyToMany(cluster, scale, "Actor"),
  "async-actor-1-n": (cluster, scale) => oneToMany(cluster, scale, "AsyncActor"),
  "async-actor-n-n": (cluster, scale) => manyToMany(cluster, scale, "AsyncActor"),
  "actor-n-n-arg": async (cluster, scale) => {
    const n = times(1_000, scale);
    const servers = await named(cluster, "Actor");
    const clients = await Promise.all(servers.names.map((name) => client(cluster, [name])));
    return {
      step: () => Promise.all(clients.map((each) => each.smallValueBatchArg(n))),
      end: () => killAll(cluster, [...clients, ...servers.actors]),
    };
  },
  "groups-100": (cluster) => ({
    step: async () => {
      const groups = await Promise.all(many(100, () => cluster.placementGroup([{ custom: 0.001 }])));
      await Promise.all(groups.map((group) => group.ready()));
      await Promise.all(groups.map((group) => group.remove()));
    },
  }),
  "groups-one": (cluster) => gang(cluster, 1),
  "gang-8": (cluster) => gang(cluster, 8),
  "launch-1": (cluster) => launch(cluster, 1),
  "launch-20": (cluster) => launch(cluster, 20),
  "launch-100": (cluster) => launch(cluster, 100),
  "stream-10k": async (cluster) => {
    const one = await actor(cluster);
    return {
      step: async () => {
        let total = 0;
        for await (const item of one.items(10_000)) total += item;
        if (total !== 49_995_000) throw new Error(`the items add up to ${total}`);
      },
      end: () => cluster.kill(one),
    };
  },
  ...sizes("1-kib", 1_024),
  ...sizes("1-mib", MIB),
  ...sizes("64-mib", 64 * MIB),
  ...sizes("800-mib", 800 * MIB),
  "read-back": async (cluster) => {
    const one = await actor(cluster);
    return {
      step: async () => {
        using ref = await cluster.put(new Uint8Array(MIB).fill(3));
        if ((await one.firstAndLast(ref)) !== 6) throw new Error("another process read something else than was put");
      },
      end: () => cluster.kill(one),
    };
  },
  "broadcast-256-mib": async (cluster) => {
    const actors = await Promise.all(many(4, () => actor(cluster)));
    const array = new Uint8Array(256 * MIB).fill(1);
    return {
      step: async () => {
        using ref = await cluster.put(array);
        const sums = await Promise.all(actors.map((each) => each.firstAndLast(ref)));
        if (sums.some((sum) => sum !== 2)) throw new Error(`the readers saw ${sums}`);
      },
      end: () => killAll(cluster, actors),
    };
  },
  "named-lookup": async (cluster) => {
    const one = await cluster.actor<Actor>(TARGETS, "Actor").options({ name: "looked-up" }).create();
    return { step: () => cluster.getActor("looked-up"), end: () => cluster.kill(one) };
  },
  "init-first": () => ({
    figure: async () => {
      const { stdout } = await run(process.execPath, [FIRST], { timeout: 60_000 });
      return Number(stdout.split("first result after")[1]);
    },
  }),
  "kill-noticed": (cluster) => ({
    figure: async () => {
      const one = await cluster.actor<AsyncActor>(TARGETS, "AsyncActor").create();
      const pid = await one.pid();
      const pending = one.sleep().then(
        () => new Error("the call ended well"),
        (error: unknown) => error,
      );
      await one.pid();
      const startedAt = performance.now();
      process.kill(pid, "SIGKILL");
      const error = await pending;
      const ms = performance.now() - startedAt;
      if ((error as { name?: string }).name !== "ActorDiedError") throw error;
      return ms;
    },
  }),
};

function small(cluster: Cluster) {
  return cluster.task<typeof smallValue>(TARGETS, "smallValue");
}

function taskBatch(cluster: Cluster): Running {
  const task = small(cluster);
  return { step: () => cluster.get(many(1_000, () => task.remote())) };
}

function actor(cluster: Cluster, name = "Actor", maxConcurrency?: number): Promise<ActorHandle<Actor>> {
  return cluster
    .actor<Actor>(TARGETS, name)
    .options(maxConcurrency === undefined ? {} : { maxConcurrency })
    .create();
}

async function calls(cluster: Cluster, name: string, width: number, maxConcurrency?: number): Promise<Running> {
  const one = await actor(cluster, name, maxConcurrency);
  const step = width === 1 ? () => one.smallValue() : () => Promise.all(many(width, () => one.smallValue()));
  return { step, end: () => cluster.kill(one) };
}

let serial = 0;
async function named(cluster: Cluster, className: string): Promise<{ names: string[]; actors: ActorHandle<Actor>[] }> {
  const names = many(HALF, () => `server-${++serial}`);
  const make = (name: string): Promise<ActorHandle<Actor>> =>
    cluster.actor<Actor>(TARGETS, className).options({ name }).create();
  return { names, actors: await Promise.all(names.map(make)) };
}

async function client(cluster: Cluster, names: readonly string[]): Promise<ActorHandle<Client>> {
  const made = await cluster.actor<Client>(TARGETS, "Client").create();
  await made.meet(names);
  return made;
}

async function oneToMany(cluster: Cluster, scale: number, className: string): Promise<Running> {
  const n = times(5_000, scale);
  const servers = await named(cluster, className);
  const one = await client(cluster, servers.names);
  return { step: () => one.smallValueBatch(n), end: () => killAll(cluster, [one, ...servers.actors]) };
}

async function manyToMany(cluster: Cluster, scale: number, className: string): Promise<Running> {
  const n = times(5_000, scale);
  const servers = await named(cluster, className);
  const task = cluster.task<typeof roundRobin>(TARGETS, "roundRobin");
  return {
    step: () => cluster.get(many(4, () => task.remote(servers.names, n))),
    end: () => killAll(cluster, servers.actors),
  };
}

function gang(cluster: Cluster, bundles: number): Running {
  return {
    step: async () => {
      const group = await cluster.placementGroup(many(bundles, () => ({ custom: 0.001 })));
      await group.ready();
      await group.remove();
    },
  };
}

function launch(cluster: Cluster, count: number): Running {
  return {
    step: async () => {
      const actors = await Promise.all(many(count, () => actor(cluster)));
      await Promise.all(actors.map((each) => each.smallValue()));
      await killAll(cluster, actors);
    },
  };
}

function sizes(name: string, bytes: number): Record<string, Start> {
  return {
    [`put-${name}`]: (cluster) => {
      const array = new Uint8Array(bytes).fill(1);
      return { step: async () => (await cluster.put(array)).dispose() };
    },
    [`get-${name}`]: async (cluster) => {
      const ref = await cluster.put(new Uint8Array(bytes).fill(1));
      return {
        step: async () => {
          const array = await cluster.get(ref);
          if (array[0]! + array.at(-1)! !== 2) throw new Error("got something else than was put");
        },
        end: () => ref.dispose(),
      };
    },
  };
}

async function killAll(cluster: Cluster, actors: readonly unknown[]): Promise<void> {
  await Promise.all(actors.map((each) => cluster.kill(each)));
}

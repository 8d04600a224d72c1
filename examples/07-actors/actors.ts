import { fileURLToPath } from "node:url";
import { ActorDiedError, init, kwargs, PendingCallsLimitExceeded, type RayTaskError } from "whipray";
import type { Fetcher } from "./fetcher.ts";

const FETCHER = new URL("./fetcher.ts", import.meta.url);
await using cluster = await init({ numCpus: 4 });

{
  console.log("Concurrency: two calls at once in the group io, other methods are not held up");
  using fetcher = await cluster
    .actor<Fetcher>(FETCHER, "Fetcher")
    .options({ concurrencyGroups: { io: 2 }, methods: { fetch: { concurrencyGroup: "io" } }, maxPendingCalls: 6 })
    .create();
  const calls = Array.from({ length: 6 }, () => fetcher.fetch(100));
  const refused = await fetcher.fetched().catch((error: unknown) => error);
  console.log(`  a seventh call: ${refused instanceof PendingCallsLimitExceeded ? refused.code : refused}`);
  console.log(`  fetched: ${(await Promise.all(calls)).join(" ")}`);

  console.log("Errors: as they were thrown, or another try where the call asks for it");
  const error = (await fetcher.flaky().catch((thrown: unknown) => thrown)) as RayTaskError;
  console.log(`  ${error.remoteName}: ${error.message}`);
  console.log(`  ${await fetcher.flaky.options({ retryExceptions: ["RangeError"], maxTaskRetries: 5 })()}`);

  console.log("Streams: items as they come");
  for await (const page of fetcher.pages(3)) console.log(`  ${page}`);

  console.log("Cancel: by the ref of the call; the method sees its signal");
  const watching = fetcher.watch.remote();
  await fetcher.fetched(); // by now it runs
  cluster.cancel(watching);
  console.log(`  ${await cluster.get(watching).catch((thrown: unknown) => (thrown as Error).name)}`);
  const failed = await cluster.listTasks({ filters: { type: "ACTOR_TASK", state: "FAILED" } });
  console.log(`  calls that failed: ${[...new Set(failed.map(({ name }) => name))].sort().join(", ")}`);
} // `using`: it was the last handle, so the actor has ended here

console.log("Death: the cause is in the error; with maxRestarts it comes back, with fresh state");
const mortal = await cluster.actor<Fetcher>(FETCHER, "Fetcher").options({ name: "mortal", maxRestarts: 1 }).create();
await mortal.fetch(0);
console.log(`  ${(await mortal.crash().catch((error: unknown) => error as Error)).name}`);
console.log(
  `  it has fetched ${await mortal.fetched()} since, and was restarted ${(await cluster.actorRow(mortal)).restarts} time`,
);
const end = (await mortal.crash().catch((error: unknown) => error)) as ActorDiedError;
console.log(`  ${end instanceof ActorDiedError ? `dead: exit code ${end.where?.exitCode}` : String(end)}`);

console.log("Python: the same handle before a class of another language");
interface Stats {
  add(...numbers: number[]): number;
  mean(): number;
}
const here = fileURLToPath(new URL(".", import.meta.url));
const stats = await cluster.actor<Stats>("stats:Stats", { pythonPath: [here] }).create(kwargs({ digits: 3 }));
await stats.add(1, 2, 4);
console.log(`  mean ${await stats.mean()}`);
await cluster.terminate(stats);

import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { RayScheduler, type SchedulingSpec } from "@whipray/scheduler";
import { init } from "whipray";
import { advantagesOf, average, shuffled } from "./advantages.ts";
import { choose, type Digits, loadDigits, range } from "./digits.ts";
import { learningCurve, type Step, showStep } from "./report.ts";

// A single controller teaches a policy to read handwritten digits: engines in Python, placed by AReaL's Scheduler API.
const { values: flags } = parseArgs({
  options: {
    address: { type: "string" },
    python: { type: "string", default: "python3" },
    steps: { type: "string", default: "30" },
    curve: { type: "string" },
    "shuffle-rewards": { type: "boolean", default: false },
    seed: { type: "string", default: "0" },
  },
});
const [steps, seed, QUESTIONS, GROUP] = [Number(flags.steps), Number(flags.seed), 256, 8];
const startedAt = performance.now();
const here = fileURLToPath(new URL(".", import.meta.url));
const { train, heldOut } = await loadDigits(new URL("./data/digits.csv", import.meta.url));

await using cluster = await init(flags.address === undefined ? { numCpus: 6 } : { address: flags.address });
await using scheduler = new RayScheduler({ cluster, experimentName: "digits" });
const spec: SchedulingSpec = { mem: 0.25, python: flags.python, envVars: { PYTHONPATH: here } };

// Roles: two training ranks in one placement group, two rollout instances in groups of their own, and beside them the judges.
const actors = await scheduler.createWorkers({ role: "actor", replicas: 2, tasks: [{ ...spec, cpu: 2 }] });
const rollouts = await scheduler.createWorkers({
  role: "rollout",
  replicas: 2,
  tasks: [{ ...spec, cpu: 1, rayPlacementStrategy: "separate" }],
});
const evals = await scheduler.createWorkers({
  role: "eval",
  replicas: 2,
  tasks: [{ ...spec, cpu: 0 }],
  schedulingStrategy: { type: "colocation", target: "rollout", fork: true },
});
const refs = await scheduler.createWorkers({
  role: "ref",
  replicas: 2,
  tasks: [spec],
  schedulingStrategy: { type: "colocation", target: "actor", fork: false },
});
const placed = await Promise.all(["actor", "rollout", "eval"].map((role) => scheduler.getWorkers(role)));
const nodes = new Set(placed.flat().map((worker) => worker.nodeId));
const ranksOn = placed[0]!.map((worker) => worker.nodeId);
if (flags.address !== undefined && (nodes.size < 2 || new Set(ranksOn).size < 2))
  throw new Error(`engines ran on ${nodes.size} node(s), the ranks on ${ranksOn.join(", ")}; two were expected`);

const each = <T>(ids: readonly string[], call: (id: string, index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(ids.map(call));
const call = async <T>(id: string, engineName: string, method: string, ...args: unknown[]): Promise<T> =>
  (await scheduler.callEngine(id, method, { engineName, args })) as T;
const refName = (rank: number): string => `ref/${rank}`;

const master = await scheduler.getPlacementGroupMasterIpAndPort(scheduler.placementGroups("actor")[0]!);
await each(actors, async (id, rank) => {
  await scheduler.setWorkerEnv(id, {
    RANK: `${rank}`,
    WORLD_SIZE: "2",
    MASTER_ADDR: master.ip,
    MASTER_PORT: `${master.port}`,
  });
  await scheduler.createEngine(id, "engines.TrainEngine");
  await scheduler.createEngine(refs[rank]!, "engines.ReferenceEngine", { engineName: refName(rank) });
});
await each(rollouts, (id, i) =>
  scheduler.createEngine(id, "engines.RolloutEngine", { args: [{ seed: 2 * seed + i }] }),
);
await each(evals, (id) => scheduler.createEngine(id, "engines.EvalEngine"));
await each(actors, (id) => call(id, id, "create_process_group"));
await each(actors, (id) => call(id, id, "initialize", seed));

interface Weights {
  version: number;
  arrays: unknown;
}
interface Group {
  question: number;
  answers: Int32Array;
  logprobs: Float64Array;
  version: number;
}
const publish = async (version: number): Promise<void> => {
  const weights = await call<Weights>(actors[0]!, actors[0]!, "weights");
  if (weights.version !== version)
    throw new Error(`weight version ${weights.version} came where ${version} was expected`);
  await each([...rollouts, ...evals], (id) => call(id, id, "update_weights", version, weights.arrays));
  if (version === 0) await each(refs, (id, rank) => call(id, refName(rank), "update_weights", 0, weights.arrays));
};
const part = (n: number, i: number): number[] => range((i * n) / 2, ((i + 1) * n) / 2);
const accuracy = async (): Promise<number> => {
  const n = heldOut.labels.length;
  const scores = await each(evals, async (id, i) => {
    const { images, labels } = choose(heldOut, part(n, i));
    const score = await call<{ accuracy: number; n: number }>(id, id, "accuracy", images, labels);
    return score.accuracy * score.n;
  });
  return (scores[0]! + scores[1]!) / n;
};
/** Groups of answers of one rollout engine, as they come; in question order. */
const generate = async (id: string, { images }: Digits, version: number): Promise<Group[]> => {
  const groups: Group[] = [];
  for await (const item of scheduler.streamEngine(id, "generate", { args: [images, GROUP] }))
    groups.push(item as Group);
  const stale = groups.find((group) => group.version !== version);
  if (stale) throw new Error(`${id} answered with weights ${stale.version}, not ${version}`);
  return groups.sort((a, b) => a.question - b.question);
};

await publish(0);
const accuracyBefore = await accuracy();
const history: Step[] = [{ version: 0, reward: accuracyBefore, accuracy: accuracyBefore, kl: 0, samplesPerSecond: 0 }];
for (let step = 0; step < steps; step++) {
  const stepAt = performance.now();
  const questions = choose(
    train,
    range(0, QUESTIONS).map((i) => (step * QUESTIONS + i) % train.labels.length),
  );
  const groups = (await each(rollouts, (id, i) => generate(id, choose(questions, part(QUESTIONS, i)), step))).flat();
  const truths = groups.flatMap(({ answers }, q) =>
    [...answers].map((answer) => (answer === questions.labels[q] ? 1 : 0)),
  );
  const advantages = advantagesOf(flags["shuffle-rewards"] ? shuffled(truths, seed + step) : truths, GROUP);
  const trained = await each(actors, async (id, rank) => {
    const half = part(QUESTIONS, rank);
    const { images } = choose(questions, half);
    const answers = Uint8Array.from(half.flatMap((q) => [...groups[q]!.answers]));
    const logprobs = Float64Array.from(half.flatMap((q) => [...groups[q]!.logprobs]));
    const share = advantages.slice(half[0]! * GROUP, (half.at(-1)! + 1) * GROUP);
    const before = await call<{ data: Float64Array }>(refs[rank]!, refName(rank), "logprobs", images, answers);
    const result = await call<{ version: number; weights_checksum: string }>(
      id,
      id,
      "train_batch",
      images,
      answers,
      share,
      logprobs,
    );
    return { ...result, kl: average([...logprobs].map((logprob, i) => logprob - before.data[i]!)) };
  });
  if (trained[0]!.weights_checksum !== trained[1]!.weights_checksum)
    throw new Error("the ranks have different weights");
  await publish(step + 1);
  const seconds = (performance.now() - stepAt) / 1_000;
  history.push({
    version: step + 1,
    reward: average(truths),
    accuracy: await accuracy(),
    kl: average(trained.map(({ kl }) => kl)),
    samplesPerSecond: (QUESTIONS * GROUP) / seconds,
  });
  showStep(history.at(-1)!, steps);
}
await each(actors, (id) => call(id, id, "destroy"));
if (flags.curve !== undefined) await writeFile(flags.curve, learningCurve(history));
const result = {
  accuracyBefore,
  accuracyAfter: history.at(-1)!.accuracy,
  steps,
  seconds: (performance.now() - startedAt) / 1_000,
  nodes: nodes.size,
  engines: actors.length + rollouts.length + evals.length + refs.length,
  ranksOn,
};
console.log(JSON.stringify(result));

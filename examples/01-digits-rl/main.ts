import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { RayScheduler, type RTensor, type SchedulingSpec, type SchedulingStrategy } from "@whipray/scheduler";
import { init } from "whipray";
import { advantagesOf, average, shuffled } from "./advantages.ts";
import { choose, type Digits, loadDigits, range } from "./digits.ts";
import { learningCurve, type Step, showStep } from "./report.ts";

// A single controller teaches a policy to read handwritten digits: engines in Python, placed by AReaL's Scheduler API.
const [STEPS, QUESTIONS, GROUP] = [30, 256, 8];
const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  options: { address: text, python: text, curve: text, "shuffle-rewards": { type: "boolean" } },
});
const startedAt = performance.now();
const { train, heldOut } = await loadDigits(new URL("./data/digits.csv", import.meta.url));
await using cluster = await init(flags.address === undefined ? { numCpus: 6 } : { address: flags.address });
await using scheduler = new RayScheduler({
  ...{ cluster, experimentName: "digits" },
  onWaiting: (wait) => console.error(`${wait.role} waits for its place: ${wait.text}`),
});

// Two training ranks in one placement group, two rollout instances in groups of their own, and beside them judge and reference.
const role = (name: string, own: SchedulingSpec, schedulingStrategy: SchedulingStrategy = { type: "separation" }) => {
  const envVars = { PYTHONPATH: fileURLToPath(new URL(".", import.meta.url)) };
  const spec = { mem: 0.25, python: flags.python ?? "python3", envVars, ...own };
  return scheduler.createWorkers({ role: name, replicas: 2, tasks: [spec], schedulingStrategy });
};
const actors = await role("actor", { cpu: 2 });
const rollouts = await role("rollout", { cpu: 1, rayPlacementStrategy: "separate" });
const evals = await role("eval", { cpu: 0 }, { type: "colocation", target: "rollout", fork: true });
const refs = await role("ref", {}, { type: "colocation", target: "actor", fork: false });
const placed = await Promise.all(["actor", "rollout", "eval"].map((name) => scheduler.getWorkers(name)));
const nodes = new Set(placed.flat().map(({ nodeId }) => nodeId));
const ranksOn = placed[0]!.map(({ nodeId }) => nodeId);

const each = <T>(ids: string[], run: (id: string, i: number) => Promise<T>): Promise<T[]> => Promise.all(ids.map(run));
// biome-ignore lint/suspicious/noExplicitAny: what an engine returns is its own affair
const call = (id: string, engineName: string, method: string, ...args: unknown[]): Promise<any> =>
  scheduler.callEngine(id, method, { engineName, args });

const master = await scheduler.getPlacementGroupMasterIpAndPort(scheduler.placementGroups("actor")[0]!);
await each(actors, async (id, rank) => {
  const address = { MASTER_ADDR: master.ip, MASTER_PORT: `${master.port}` };
  await scheduler.setWorkerEnv(id, { RANK: `${rank}`, WORLD_SIZE: "2", ...address });
  await scheduler.createEngine(id, "engines.TrainEngine");
  await scheduler.createEngine(refs[rank]!, "engines.ReferenceEngine", { engineName: `ref/${rank}` });
});
await each(rollouts, (id, i) => scheduler.createEngine(id, "engines.RolloutEngine", { args: [{ seed: i }] }));
await each(evals, (id) => scheduler.createEngine(id, "engines.EvalEngine"));
await each(actors, (id) => call(id, id, "create_process_group"));
await each(actors, (id) => call(id, id, "initialize", 0));

const half = (n: number, i: number): number[] => range((i * n) / 2, ((i + 1) * n) / 2);
// New weights to everybody who answers, from rank 0 straight to them: here are only their names. The engines refuse a
// version that does not follow theirs.
const publish = async (version: number): Promise<void> => {
  type Weights = { version: number; arrays: Record<string, RTensor> };
  const weights = await scheduler.callEngine<Weights>(actors[0]!, "weights", { remote: true });
  if (weights.version !== version) throw new Error(`weights ${weights.version} came where ${version} were expected`);
  await each([...rollouts, ...evals], (id) => call(id, id, "update_weights", version, weights.arrays));
  if (version === 0) await each(refs, (id, rank) => call(id, `ref/${rank}`, "update_weights", 0, weights.arrays));
  await scheduler.clearTensors(weights.arrays);
};
const accuracy = async (): Promise<number> => {
  const scores = await each(evals, (id, i) => {
    const { images, labels } = choose(heldOut, half(heldOut.labels.length, i));
    return call(id, id, "accuracy", images, labels);
  });
  return scores.reduce((sum, score) => sum + score.accuracy * score.n, 0) / heldOut.labels.length;
};
type Group = { question: number; answers: Int32Array; logprobs: Float64Array; version: number };
/** Groups of answers of one rollout engine, taken as they come, given in the order of the questions. */
const generate = async (id: string, { images }: Digits, version: number): Promise<Group[]> => {
  const groups = await Array.fromAsync(scheduler.streamEngine<Group>(id, "generate", { args: [images, GROUP] }));
  const stale = groups.find((group) => group.version !== version);
  if (stale) throw new Error(`${id} answered with weights ${stale.version}, not ${version}`);
  return groups.sort((a, b) => a.question - b.question);
};

await publish(0);
const history: Step[] = [{ version: 0, reward: 0.1, accuracy: await accuracy(), kl: 0, samplesPerSecond: 0 }];
for (let step = 0; step < STEPS; step++) {
  const stepAt = performance.now();
  const asked = range(step * QUESTIONS, (step + 1) * QUESTIONS).map((i) => i % train.labels.length);
  const questions = choose(train, asked);
  const groups = (await each(rollouts, (id, i) => generate(id, choose(questions, half(QUESTIONS, i)), step))).flat();
  const rewards = groups.flatMap(({ answers }, q) => [...answers].map((answer) => +(answer === questions.labels[q])));
  const advantages = advantagesOf(flags["shuffle-rewards"] ? shuffled(rewards, step) : rewards, GROUP);
  const trained = await each(actors, async (id, rank) => {
    const mine = half(QUESTIONS, rank);
    const { images } = choose(questions, mine);
    const answers = Uint8Array.from(mine.flatMap((q) => [...groups[q]!.answers]));
    const logprobs = Float64Array.from(mine.flatMap((q) => [...groups[q]!.logprobs]));
    const share = advantages.slice(mine[0]! * GROUP, (mine.at(-1)! + 1) * GROUP);
    const before = await call(refs[rank]!, `ref/${rank}`, "logprobs", images, answers);
    const result = await call(id, id, "train_batch", images, answers, share, logprobs);
    return { sum: result.weights_checksum, kl: average([...logprobs].map((p, i) => p - before.data[i])) };
  });
  if (trained[0]!.sum !== trained[1]!.sum) throw new Error("the ranks have different weights");
  await publish(step + 1);
  const samplesPerSecond = (QUESTIONS * GROUP * 1_000) / (performance.now() - stepAt);
  const kl = average(trained.map((rank) => rank.kl));
  history.push({ version: step + 1, reward: average(rewards), accuracy: await accuracy(), kl, samplesPerSecond });
  showStep(history.at(-1)!, STEPS);
}
await each(actors, (id) => call(id, id, "destroy"));
if (flags.curve !== undefined) await writeFile(flags.curve, learningCurve(history));
const [accuracyBefore, accuracyAfter] = [history[0]!.accuracy, history.at(-1)!.accuracy];
const engines = [actors, rollouts, evals, refs].flat().length;
const seconds = (performance.now() - startedAt) / 1_000;
console.log(
  JSON.stringify({ accuracyBefore, accuracyAfter, steps: STEPS, seconds, nodes: nodes.size, engines, ranksOn }),
);

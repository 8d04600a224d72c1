import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { describeLeaks, startCluster } from "@whipray/testkit";

// `npm run demo`: a head and two raylets as processes of their own, the second as if on another machine; the example 01 on
// them; then everything is taken down, and looked for from outside.
const ROOT = new URL("..", import.meta.url);
const EXAMPLE = fileURLToPath(new URL("examples/01-digits-rl/main.ts", ROOT));
const PYTHON = fileURLToPath(new URL(".venv/bin/python", ROOT));
const CURVE = fileURLToPath(new URL("out/digits-learning-curve.svg", ROOT));
/** With shuffled rewards nothing may be learnt; with the true ones nearly all. */
const LEARNT = 0.85;
const UNLEARNT = 0.3;

interface Result {
  accuracyBefore: number;
  accuracyAfter: number;
  steps: number;
  seconds: number;
  nodes: number;
  engines: number;
  ranksOn: string[];
}

const { values: flags } = parseArgs({
  options: { json: { type: "boolean", default: false }, "shuffle-rewards": { type: "boolean", default: false } },
});
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const startedAt = performance.now();

/** Ctrl-C ends the run at any moment, and it still takes everything down. */
const stopped = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => stopped.abort(new Error(name)));

say("starting a head and two raylets …");
// Three CPUs a node and ranks of two: PACK must use both.
const cluster = await startCluster({
  raylets: [
    { name: "n0", resources: { CPU: 3 } },
    { name: "n1", resources: { CPU: 3 }, foreign: true },
  ],
});
for (const note of cluster.notes) say(`note: ${note}`);
say(
  `head ${cluster.head.pid} on ${cluster.address}, raylets ${cluster.raylets.map(({ name, pid }) => `${name} (${pid})`).join(", ")}`,
);

/** A run without its head or a node has no result worth waiting for. */
void cluster.died.then((error) => stopped.abort(error));

let result: Result | undefined;
let failure: unknown;
try {
  result = await runExample();
  check(
    result,
    cluster.raylets.map(({ nodeId }) => nodeId),
  );
} catch (error) {
  failure = error;
}
say("taking everything down …");
const leftovers = await cluster.stop();
if (leftovers.length > 0) say(`left behind:\n${describeLeaks(leftovers)}`);
else say("nothing is left: no process, no socket, no file");
if (failure) say(`demo failed: ${failure instanceof Error ? failure.message : String(failure)}`);
const seconds = (performance.now() - startedAt) / 1_000;
if (!result && flags.json)
  console.log(JSON.stringify({ error: String(failure), seconds, leftovers: leftovers.length }));
if (result) {
  say(
    `accuracy ${result.accuracyBefore.toFixed(3)} → ${result.accuracyAfter.toFixed(3)} in ${result.steps} steps; learning curve: ${CURVE}`,
  );
  const { ranksOn: _, ...figures } = result;
  if (flags.json) {
    const failed = failure ? { error: String(failure) } : {};
    console.log(JSON.stringify({ ...figures, seconds, leftovers: leftovers.length, ...failed }));
  }
}
process.exit(failure || leftovers.length > 0 ? 1 : 0);

/** Runs the controller as a process of its own, a driver like any other; its last line of stdout is the result. */
async function runExample(): Promise<Result> {
  stopped.signal.throwIfAborted();
  mkdirSync(new URL("out/", ROOT), { recursive: true });
  const args = [EXAMPLE, "--address", cluster.address, "--python", PYTHON, "--curve", CURVE];
  if (flags["shuffle-rewards"]) args.push("--shuffle-rewards");
  const child = spawn(process.execPath, args, {
    env: { ...process.env, WHIPRAY_TOKEN: cluster.token },
    stdio: ["ignore", "pipe", "inherit"],
  });
  stopped.signal.addEventListener("abort", () => child.kill("SIGTERM"));
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (stopped.signal.aborted) reject(stopped.signal.reason);
      else if (code === 0) resolve(JSON.parse(output.trim().split("\n").at(-1) ?? "") as Result);
      else
        reject(
          new Error(`the controller ended with ${signal ?? `exit code ${code}`}\n${cluster.logs().slice(-4_000)}`),
        );
    });
  });
}

/** @throws Error when a rank, a node or the learning is not what it must be. Ranks go by the nodes' addresses. */
function check({ accuracyAfter, ranksOn, nodes }: Result, nodeIds: string[]): void {
  if (nodes !== nodeIds.length || ranksOn.join() !== nodeIds.join()) {
    throw new Error(
      `engines ran on ${nodes} node(s), the ranks on ${ranksOn.join(", ")}; expected ${nodeIds.join(", ")}`,
    );
  }
  if (flags["shuffle-rewards"] ? accuracyAfter >= UNLEARNT : accuracyAfter < LEARNT) {
    throw new Error(`accuracy is ${accuracyAfter} after ${flags["shuffle-rewards"] ? "shuffled" : "true"} rewards`);
  }
}

import { readdirSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { daemons } from "whipray";
import { MAIN, makeMachine } from "./machine.ts";

const TEST_MS = 120_000;
const CONFESSOR = fileURLToPath(new URL("./fixtures/confessor.ts", import.meta.url));
// All that daemons ever say.
const machine = makeMachine({ WHIPRAY_LOG_LEVEL: "trace" });
const { home, node, whipray } = machine;
afterAll(() => machine.leave(), TEST_MS);

/** Files that are logs, with their text. */
function logs(): [string, string][] {
  const paths = readdirSync(home, { recursive: true }).map((name) => join(home, String(name)));
  return paths
    .filter((path) => /\.log(\.\d+)?$/.test(path) && statSync(path).isFile())
    .map((path) => [path, readFileSync(path, "utf8")]);
}

test(
  "P19: the cluster's secret and the tokens of all roles are in no log, status, error, report, argument or variable",
  async () => {
    const said: [string, string][] = [];
    const run = async (...args: string[]): Promise<string> => {
      const { stdout, stderr } = await whipray(...args);
      said.push([args.join(" "), stdout + stderr]);
      return stdout;
    };
    const { address, directory, joinTokenFile } = JSON.parse(await run("start", "--head", "--port", "0", "--json"));
    const { secret } = daemons.readClusterFile(directory);
    const tokens = daemons.clusterTokens(secret);
    const program = await node([CONFESSOR, address]);
    said.push(["the program", program.stdout + program.stderr]);
    expect(program.stdout).toContain("WHIPRAY_CLUSTER"); // it did confess
    for (const what of ["nodes", "actors", "placement-groups"]) await run("list", what, "--json");
    for (const command of [
      ["status"],
      ["doctor"],
      ["doctor", "--json"],
      ["logs", "confessor"],
      ["events"],
      ["start", "--head"],
    ])
      await run(...command);
    // Refused with a line of the least level, for sure.
    const large = connect(Number(new URL(`ws://${address}`).port), "127.0.0.1").resume();
    large.on("error", () => {}).end(`GET / HTTP/1.1\r\nx: ${tokens.driver}${"x".repeat(100_000)}`);
    await new Promise((resolve) => large.once("close", resolve));
    // Refused: somebody's token that is nearly right, a join token that is half of one, and that of another cluster.
    const near = `${tokens.driver.slice(0, -1)}${tokens.driver.endsWith("0") ? "1" : "0"}`;
    const refused = await node([MAIN, "status", "--json"], { WHIPRAY_TOKEN: near });
    said.push(["status with a wrong token", refused.stdout + refused.stderr]);
    for (const WHIPRAY_JOIN of [tokens.raylet, `cluster_${"a".repeat(16)}:${tokens.raylet}`]) {
      const joining = ["start", "--address", address, "--wait-seconds", "1", "--json"];
      const joined = await node([MAIN, ...joining], { WHIPRAY_JOIN });
      said.push(["start with a wrong join token", joined.stdout + joined.stderr]);
    }
    expect(readFileSync(joinTokenFile, "utf8")).toContain(tokens.raylet);
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      for (const file of ["cmdline", "environ"]) {
        try {
          said.push([`/proc/${pid}/${file}`, readFileSync(`/proc/${pid}/${file}`, "utf8")]);
        } catch {} // gone, or another user's
      }
    }
    await run("stop");
    const files = logs();
    expect(files.map(([path]) => path).join()).toMatch(/head\.log.*node_\w+\.log/);
    expect(files.some(([, text]) => text.includes('"level":20'))).toBe(true); // they do say all
    const found = [...said, ...files].flatMap(([where, text]) =>
      Object.entries({ secret, ...tokens }).flatMap(([name, value]) =>
        text.includes(value) ? [`${name} in ${where}`] : [],
      ),
    );
    expect(found).toEqual([]);
  },
  TEST_MS,
);

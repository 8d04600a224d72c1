import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MemoryLogs } from "../src/memory-logs.ts";
import { type MemoryChild, MemoryProcesses } from "../src/memory-processes.ts";
import { venvFolders } from "../src/venv-folders.io.ts";
import { installFailure, type VenvAsk, Venvs, venvCommands, venvName } from "../src/venvs.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const ask = (tool: "pip" | "uv", ...list: string[]): VenvAsk => ({ packages: { tool, list }, python: "python3" });
const signal = new AbortController().signal;

/** A node where commands end as `play` says. */
function node(play: (child: MemoryChild) => void) {
  const processes = new MemoryProcesses(play);
  const removed: string[] = [];
  const folders = {
    root: async () => "/venvs",
    remove: async (name: string) => {
      removed.push(name);
    },
  };
  const env = { PATH: "/bin", WHIPRAY_TOKEN: "secret" };
  const venvs = new Venvs({ nodeId: "node_a", raylet: "inc_a", folders, processes, logs: new MemoryLogs(), env });
  return { venvs, processes, removed };
}

describe("virtual environments", () => {
  test("Ray: pip and uv: one is made, then its packages installed, with what the raylet's environment says of indexes", async () => {
    for (const tool of ["pip", "uv"] as const) {
      const { venvs, processes } = node((child) => child.exit({ code: 0, signal: null }));
      const made = ask(tool, "b==2", "a");
      const folder = `/venvs/${venvName(made)}`;
      expect(await venvs.make(made, signal)).toBe(`${folder}/bin/python`);
      const commands = processes.children.map(({ spec }) => [spec.command, ...spec.args]);
      expect(commands).toEqual(venvCommands(made, folder));
      expect(commands[1]!.slice(-3)).toEqual(["--", "b==2", "a"]);
      const marks = { WHIPRAY_NODE_ID: "node_a", WHIPRAY_RAYLET: "inc_a" };
      expect(processes.children[0]!.spec.env).toEqual({ PATH: "/bin", ...marks });
    }
  });

  test("requirements in another order are the same environment, other ones or another interpreter are not", () => {
    expect(venvName(ask("pip", "a", "b"))).toBe(venvName(ask("pip", "b", "a")));
    const names = [ask("pip", "a"), ask("uv", "a"), ask("pip", "a", "b"), { ...ask("pip", "a"), python: "python3.13" }];
    expect(new Set(names.map(venvName)).size).toBe(4);
  });

  test("what failed is told by its code, with the last lines and the log; nothing is left of it", async () => {
    const { venvs, removed } = node((child) => {
      child.spec.log.write("err", Buffer.from("ERROR: No matching distribution found for nonsense\n"));
      child.exit({ code: 1, signal: null });
    });
    const made = ask("pip", "nonsense");
    await expect(venvs.make(made, signal)).rejects.toMatchObject({
      code: "INSTALL_FAILED",
      message: expect.stringContaining("No matching distribution"),
      where: { node: "node_a", logPath: expect.any(String) },
    });
    expect(removed).toEqual([venvName(made)]);
  });

  test("a missing tool and an index out of reach have codes of their own", async () => {
    const code = (exit: number, ...tail: string[]) =>
      installFailure(["uv", "venv"], `exit code ${exit}`, exit, tail).code;
    expect(code(127, "setpriv: failed to execute uv: No such file or directory")).toBe("TOOL_MISSING");
    expect(code(1, "/usr/bin/python3: No module named venv")).toBe("TOOL_MISSING");
    expect(code(1, "ensurepip is not available.")).toBe("TOOL_MISSING");
    expect(code(1, "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution")).toBe(
      "INDEX_UNREACHABLE",
    );
    expect(code(2, "error: dns error: failed to lookup address")).toBe("INDEX_UNREACHABLE");
    expect(code(1, "No module named pipeline")).toBe("INSTALL_FAILED");
    const { venvs, processes } = node(() => {});
    processes.refusal = "uv is missing";
    await expect(venvs.make(ask("uv", "a"), signal)).rejects.toMatchObject({ code: "TOOL_MISSING" });
  });

  test("an abort kills what installs", async () => {
    const started = Promise.withResolvers<void>();
    const { venvs, processes, removed } = node(() => started.resolve());
    const abort = new AbortController();
    const made = venvs.make(ask("pip", "a"), abort.signal);
    await started.promise;
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort(new Error("too late"));
    await expect(made).rejects.toThrow("too late");
    expect([processes.children[0]!.running, removed.length]).toEqual([false, 1]);
  });

  test("folders of dead raylets go when a living one makes its first, its own when it closes", async () => {
    const root = join(temporaryFolder(), "venvs");
    for (const name of ["11-1/x", "22-2/x"]) mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, "note"), "");
    const folders = venvFolders(root, { pid: 33, startTime: 3 }, (pid) => pid === 22);
    expect(await folders.root()).toBe(join(root, "33-3"));
    expect(readdirSync(root).sort()).toEqual(["22-2", "33-3", "note"]);
    mkdirSync(join(root, "33-3/one"));
    await folders.remove("one");
    expect(existsSync(join(root, "33-3/one"))).toBe(false);
    await folders.close();
    expect(readdirSync(root).sort()).toEqual(["22-2", "note"]);
  });
});

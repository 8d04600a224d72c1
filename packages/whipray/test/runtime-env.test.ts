import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { checkRuntimeEnv, mergedEnv, type RuntimeEnv } from "../src/runtime-env.ts";

describe("a runtime environment", () => {
  test("paths become absolute, defaults are Ray's, variables alone need nothing of the node", () => {
    expect(checkRuntimeEnv(undefined)).toBeUndefined();
    expect(checkRuntimeEnv({ envVars: { A: "1" } })).toBeUndefined();
    expect(checkRuntimeEnv({ workingDir: ".", pyModules: [new URL("file:///m")], pip: ["numpy==2.3.1"] })).toEqual({
      workingDir: resolve("."),
      pyModules: ["/m"],
      excludes: [],
      packages: { tool: "pip", list: ["numpy==2.3.1"] },
      setupTimeoutMs: 600_000,
    });
  });

  test("Ray: inside of the program's own, what is said itself wins, variables are merged, pip and uv are one part", () => {
    const around: RuntimeEnv = { workingDir: "/a", envVars: { A: "1", B: "1" }, pip: ["x"] };
    expect(mergedEnv(around, undefined)).toBe(around);
    expect(mergedEnv(around, { envVars: { B: "2" } })).toEqual({ ...around, envVars: { A: "1", B: "2" } });
    expect(mergedEnv(around, { workingDir: "/b", uv: ["y"] })).toEqual({
      workingDir: "/b",
      envVars: { A: "1", B: "1" },
      uv: ["y"],
    });
    expect(() => checkRuntimeEnv(mergedEnv(around, null as never))).toThrow("runtimeEnv must be a map");
  });

  test("what cannot be is refused with its name", () => {
    const bad: [unknown, string, string][] = [
      [{ working_dir: "." }, "INVALID_ARGUMENT", "working_dir"],
      [{ envVars: { A: 1 } }, "INVALID_ARGUMENT", "envVars.A"],
      [{ envVars: ["A"] }, "INVALID_ARGUMENT", "envVars"],
      [{ workingDir: "" }, "INVALID_PATH", "workingDir"],
      [{ workingDir: "a\0b" }, "INVALID_PATH", "workingDir"],
      [{ workingDir: 7 }, "INVALID_PATH", "workingDir"],
      [{ pyModules: "m" }, "INVALID_ARGUMENT", "pyModules"],
      [{ pyModules: Array.from({ length: 65 }, () => "m") }, "INVALID_ARGUMENT", "64"],
      [{ pyExecutable: "" }, "INVALID_ARGUMENT", "pyExecutable"],
      [{ setupTimeoutMs: 0 }, "INVALID_ARGUMENT", "setupTimeoutMs"],
      [{ excludes: [""] }, "INVALID_ARGUMENT", "excludes"],
      [{ pip: ["a"], uv: ["a"] }, "INVALID_ARGUMENT", "not both"],
      [{ excludes: Array.from({ length: 257 }, () => "x") }, "INVALID_ARGUMENT", "256"],
      [{ pip: Array.from({ length: 257 }, () => "x") }, "INVALID_ARGUMENT", "256"],
      [{ pip: ["x".repeat(1_025)] }, "INVALID_ARGUMENT", "pip"],
      [{ pip: [] }, "INVALID_ARGUMENT", "pip"],
      [{ pip: ["--index-url=http://evil"] }, "INVALID_ARGUMENT", "--index-url"],
      [{ uv: ["a\n-r b"] }, "INVALID_ARGUMENT", "uv"],
      ["env", "INVALID_ARGUMENT", "runtimeEnv"],
    ];
    for (const [env, code, words] of bad) {
      expect(() => checkRuntimeEnv(env as RuntimeEnv)).toThrow(
        expect.objectContaining({ code, message: expect.stringContaining(words) }),
      );
    }
  });
});

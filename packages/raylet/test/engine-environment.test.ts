import { nvidia } from "@whipray/devices";
import { describe, expect, test } from "vitest";
import {
  deviceCounts,
  type EngineEnvironmentAsk,
  engineEnvironment,
  workerEnvironment,
} from "../src/engine-environment.ts";
import { checkEnvironment, ENV_TOTAL_LIMIT_BYTES, ENV_VALUE_LIMIT_BYTES } from "../src/environment-names.ts";
import { pluginVisibility } from "../src/plugin-visibility.ts";

const GPU = {
  uuid: "GPU-11111111-2222-3333-4444-555555555555",
  index: 3,
  resource: "GPU",
  vendor: "nvidia",
  model: "H100",
};
const DEVICE = { ...GPU, acceleratorType: "H100", health: "ok" as const, lockName: "x" };
const GRANT = { uuid: GPU.uuid, index: 3, resource: "GPU", units: 10_000 };
const visibility = pluginVisibility([nvidia], [DEVICE], {});

function ask(more: Partial<EngineEnvironmentAsk> = {}): EngineEnvironmentAsk {
  return {
    inherited: {
      PATH: "/usr/bin",
      TOKENIZERS_PARALLELISM: "false",
      WHIPRAY_TOKEN_FILE: "/secret",
      PYTHONPATH: "/site",
    },
    cacheDirectory: "/cache",
    threadVariables: { OMP_NUM_THREADS: "4" },
    user: {},
    granted: [GRANT],
    isolation: "env",
    visibility,
    own: { WHIPRAY_LEASE: "lease_a" },
    cwd: "/work",
    enginePythonPath: "/engine",
    ...more,
  };
}

describe("an engine's environment (mechanism 9, areal 1.4)", () => {
  test("base, then inherited, then threads, then the user's, then devices and our own", () => {
    const env = engineEnvironment(ask({ user: { OMP_NUM_THREADS: "2", RANK: "0" } }));
    expect(env).toMatchObject({
      TRITON_CACHE_DIR: "/cache/triton",
      CUDA_DEVICE_MAX_CONNECTIONS: "1",
      TOKENIZERS_PARALLELISM: "false",
      OMP_NUM_THREADS: "2",
      RANK: "0",
      CUDA_VISIBLE_DEVICES: "3",
      WHIPRAY_LEASE: "lease_a",
    });
  });

  test("nothing that is meant for the raylet alone reaches the engine", () => {
    expect(engineEnvironment(ask())).not.toHaveProperty("WHIPRAY_TOKEN_FILE");
  });

  test("PYTHONPATH: the user's, the working directory, the inherited, the host's last, none twice", () => {
    const env = engineEnvironment(ask({ user: { PYTHONPATH: "/mine:/work" } }));
    expect(env["PYTHONPATH"]).toBe("/mine:/work:/site:/engine");
  });

  test("without devices it must see none", () => {
    expect(engineEnvironment(ask({ granted: [] }))["CUDA_VISIBLE_DEVICES"]).toBe("");
  });

  test("a device variable of the user's is refused, naming the granted ids (B26)", () => {
    const attempt = () => engineEnvironment(ask({ user: { CUDA_VISIBLE_DEVICES: "0,1" } }));
    expect(attempt).toThrow(
      expect.objectContaining({
        code: "INVALID_ENV",
        details: { names: ["CUDA_VISIBLE_DEVICES"], granted: [GPU.uuid] },
      }),
    );
  });

  test('with isolation "none" it wins', () => {
    const env = engineEnvironment(ask({ user: { CUDA_VISIBLE_DEVICES: "0,1" }, isolation: "none" }));
    expect(env["CUDA_VISIBLE_DEVICES"]).toBe("0,1");
  });

  test("LD_PRELOAD, PATH and PYTHONPATH are for engines, not for workers", () => {
    for (const name of ["LD_PRELOAD", "PATH", "PYTHONPATH"]) {
      expect(engineEnvironment(ask({ user: { [name]: "/x" } }))[name]).toContain("/x");
      const attempt = () => workerEnvironment({ [name]: "/x" }, { devices: [], units: {} }, "env", visibility, {});
      expect(attempt).toThrow(expect.objectContaining({ code: "INVALID_ENV" }));
    }
  });

  test("a worker gets the user's and the device variables", () => {
    const env = workerEnvironment({ RANK: "1" }, { devices: [GRANT], units: {} }, "env", visibility, {});
    expect(env).toMatchObject({ RANK: "1", CUDA_VISIBLE_DEVICES: "3" });
  });

  test("ray 1: OMP_NUM_THREADS of a worker is its CPUs, 1 below one CPU, unless the user or the node has set it", () => {
    const threads = (cpus: number, user = {}, node = {}) =>
      workerEnvironment(user, { devices: [], units: { CPU: cpus * 10_000 } }, "env", visibility, node)[
        "OMP_NUM_THREADS"
      ];
    expect([threads(4), threads(2.5), threads(0.5), threads(0)]).toEqual(["4", "2", "1", "1"]);
    expect(threads(4, { OMP_NUM_THREADS: "7" })).toBe("7");
    // Inherited.
    expect(threads(4, {}, { OMP_NUM_THREADS: "9" })).toBeUndefined();
  });
});

test("what an engine host compares with what it sees: devices by resource; one that two fractions share counts once", () => {
  const share = (resource: string, uuid: string) => ({ uuid, index: 0, resource, units: 100 });
  expect(deviceCounts([share("GPU", "a"), share("GPU", "b"), share("GPU", "a"), share("NPU", "c")])).toBe(
    "GPU=2,NPU=1",
  );
  expect(deviceCounts([])).toBe("");
});

describe("names and values (B26)", () => {
  test.each(["A=B", "A\0", "A\nB", "", "1A", "WHIPRAY_TOKEN", "A B"])(
    "%j is refused, and its value not told",
    (name) => {
      let message = "";
      try {
        checkEnvironment({ [name]: "hunter2" }, "engine");
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message).toMatch(/environment variable/);
      expect(message).not.toContain("hunter2");
    },
  );

  test("a NUL in a value, a value or a whole that is too long", () => {
    const refused = expect.objectContaining({ code: "INVALID_ENV" });
    expect(() => checkEnvironment({ A: "x\0" }, "engine")).toThrow(refused);
    expect(() => checkEnvironment({ A: "x".repeat(ENV_VALUE_LIMIT_BYTES + 1) }, "engine")).toThrow(refused);
    const many = Object.fromEntries(
      Array.from({ length: 9 }, (_, at) => [`A${at}`, "x".repeat(ENV_TOTAL_LIMIT_BYTES / 9)]),
    );
    expect(() => checkEnvironment(many, "engine")).toThrow(/together have/);
    checkEnvironment({ A: "x".repeat(ENV_VALUE_LIMIT_BYTES) }, "engine");
  });
});

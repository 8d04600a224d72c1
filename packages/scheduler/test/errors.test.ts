import { errorFromWire, errorToWire } from "@whipray/core";
import { expect, test } from "vitest";
import * as scheduler from "../src/index.ts";

// areal.md 1.7: every class, the attributes of AReaL's names, and what the message must say. Ours carry a stable code beside.
const ERRORS: [scheduler.SchedulerError, string, Record<string, unknown>, RegExp][] = [
  [
    new scheduler.WorkerCreationError("actor", "no room", "1 GPU short"),
    "WORKER_CREATION",
    { workerKey: "actor", reason: "no room", explanation: "1 GPU short" },
    /^Failed to create worker 'actor': no room; 1 GPU short$/,
  ],
  [
    new scheduler.WorkerConfigurationError("actor/0", "no seed"),
    "WORKER_CONFIGURATION",
    { workerKey: "actor/0", reason: "no seed" },
    /^Failed to configure worker 'actor\/0': no seed$/,
  ],
  [
    new scheduler.WorkerFailedError("actor/0", 7, "Traceback\nImportError: torch"),
    "WORKER_FAILED",
    { workerId: "actor/0", exitCode: 7, stderr: "Traceback\nImportError: torch" },
    /^Worker 'actor\/0' failed with exit code 7\nstderr:\nTraceback\nImportError: torch$/,
  ],
  [
    new scheduler.WorkerFailedError("actor/0", -9, "a\nlast words", { reason: "ended: SIGKILL; last words; its log" }),
    "WORKER_FAILED",
    { exitCode: -9, stderr: "a\nlast words" },
    /^Worker 'actor\/0' failed with exit code -9: ended: SIGKILL; last words; its log$/,
  ],
  [
    new scheduler.WorkerNotFoundError("actr/0", ["actor/0"]),
    "WORKER_NOT_FOUND",
    { workerId: "actr/0" },
    /^Worker 'actr\/0' not found; there are actor\/0$/,
  ],
  [
    new scheduler.WorkerTimeoutError("actor", 5_000, { reason: "0.1 GPU short" }),
    "WORKER_TIMEOUT",
    { workerKey: "actor", timeoutMs: 5_000 },
    /^Worker 'actor' was not ready within 5000 ms: 0\.1 GPU short$/,
  ],
  [
    new scheduler.EngineCreationError("actor/0", "no weights", 500),
    "ENGINE_CREATION",
    { workerId: "actor/0", reason: "no weights", statusCode: 500 },
    /^Failed to create engine on worker 'actor\/0' \(status 500\): no weights$/,
  ],
  [
    new scheduler.EngineImportError("my.Engine", "No module named 'my'"),
    "ENGINE_IMPORT",
    { importPath: "my.Engine", reason: "No module named 'my'" },
    /^Failed to import engine 'my\.Engine': No module/,
  ],
  [
    new scheduler.EngineCallError("actor/0", "train", "out of memory"),
    "ENGINE_CALL",
    { workerId: "actor/0", method: "train", reason: "out of memory", attempt: 1 },
    /^Engine call 'train' on worker 'actor\/0' failed \(attempt 1\): out of memory$/,
  ],
  [
    new scheduler.PortAllocationError("none are left"),
    "PORT_ALLOCATION",
    { reason: "none are left" },
    /^Port allocation failed: none are left$/,
  ],
  [
    new scheduler.GPUAllocationError("16 of 8"),
    "GPU_ALLOCATION",
    { reason: "16 of 8" },
    /^GPU allocation failed: 16 of 8$/,
  ],
  [
    new scheduler.RPCConnectionError("actor/0", "node_a", 0, "no way"),
    "RPC_CONNECTION",
    { workerId: "actor/0", host: "node_a", port: 0, reason: "no way" },
    /^Failed to connect to worker 'actor\/0' at node_a: no way$/,
  ],
  [
    new scheduler.RTensorError("actor/0", ["rtensor_k_1:f4:2"], "it was freed"),
    "RTENSOR_LOST",
    { workerId: "actor/0", tensorIds: ["rtensor_k_1:f4:2"], reason: "it was freed" },
    /^Tensor rtensor_k_1:f4:2 of worker 'actor\/0' cannot be had: it was freed$/,
  ],
];

test.each(ERRORS.map((row): [string, ...typeof row] => [row[0].name, ...row]))(
  "areal 1.7: %s has its attributes, a stable code, and crosses the wire",
  (name, error, code, attributes, message) => {
    expect(error).toBeInstanceOf(scheduler.SchedulerError);
    expect(error).toMatchObject({ ...attributes, code, retryable: false });
    expect(error.message).toMatch(message);
    expect(errorFromWire(errorToWire(error))).toMatchObject({ code, message: error.message, remoteName: name });
  },
);

test("areal 1.7: no class is missing", () => {
  const classes = Object.entries(scheduler).filter(([name]) => name.endsWith("Error") && name !== "SchedulerError");
  expect(new Set(ERRORS.map(([error]) => error.name))).toEqual(new Set(classes.map(([name]) => name)));
});

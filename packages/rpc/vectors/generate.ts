// Writes the golden vectors: `node vectors/generate.ts`. See README.md.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ActorHandleWire, encodeControl, encodeFrame, encodePrefix, encodeValues, KIND, FLAG, ObjectRefWire, Tensor } from "../src/index.ts";
import { fromHex, toHex, toNotation } from "./notation.ts";

const u32 = (...numbers: number[]): Uint8Array => new Uint8Array(Uint32Array.from(numbers).buffer);
const u64 = (...numbers: number[]): Uint8Array => new Uint8Array(BigUint64Array.from(numbers.map(BigInt)).buffer);
const counting = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, (_, index) => index & 0xff);

function prefixes(): unknown[] {
  const cases: [string, number, number, number, number, number, number][] = [
    ["smallest: PING", 0, KIND.PING, 0, 0, 0, 0],
    ["REQUEST", 1, KIND.REQUEST, 0, 18, 1, 100],
    ["every field at its largest", 0xffff_ffff, 255, 255, 65_535, Number.MAX_SAFE_INTEGER, 524_288 - 65_535],
    ["sequence above 32 bit", 2, KIND.REPLY, FLAG.CHUNKED, 5, 2 ** 32 + 7, 0],
    ["CHUNK of a callee", 3, KIND.CHUNK, FLAG.FROM_CALLEE, 0, 12, 262_144],
  ];
  return cases.map(([name, route, kind, flags, headerLength, sequence, bodyLength]) => ({
    name,
    hex: toHex(encodePrefix(route, kind, flags, headerLength, sequence, bodyLength)),
    value: { length: headerLength + bodyLength, route, kind, flags, headerLength, sequence },
  }));
}

const ERROR = { name: "ActorDiedError", code: "ACTOR_DIED", message: "actor_1 died: exit code 1", details: { actor: "actor_1" }, where: { node: "node_a", exitCode: 1 } };

interface FrameCase {
  name: keyof typeof KIND;
  note?: string;
  route?: number;
  flags?: number;
  sequence?: number;
  header?: Record<string, unknown>;
  body?: Uint8Array;
  error?: Record<string, unknown>;
}

const FRAMES: FrameCase[] = [
  {
    name: "HELLO",
    header: { magic: "whipray", v: [1, 1], role: "raylet", token: "00ff", address: "node_a/raylet", inc: "inc_a", purpose: "data", features: [], pid: 4_242, cluster: "cluster_c" },
  },
  { name: "WELCOME", header: { v: 1, address: "head/head", inc: "inc_h", cluster: "cluster_c", features: [], resumeMs: 30_000 } },
  { name: "REFUSE", error: { name: "WhiprayError", code: "UNAUTHENTICATED", message: "wrong token" } },
  { name: "PING", sequence: 7 },
  { name: "PONG", sequence: 7 },
  { name: "GOODBYE" },
  {
    name: "OPEN",
    route: 1,
    header: { to: "node_a/worker_b", from: "head/driver_z", inc: "inc_d", role: "driver", session: "inc_d", rx: 0, streams: [[3, 17]], purpose: "data" },
  },
  { name: "OPENED", route: 1, header: { inc: "inc_w", rx: 2, fresh: false } },
  { name: "CLOSE", note: "without a reason", route: 1 },
  { name: "CLOSE", note: "with an error", route: 1, error: ERROR },
  { name: "REQUEST", note: "one part", route: 1, sequence: 1, header: { m: "actor.call" }, body: encodeValues([1])[0]! },
  {
    name: "REQUEST",
    note: "all of the call header, two parts, wants a stream",
    route: 3,
    flags: FLAG.STREAM,
    sequence: 2,
    header: { m: "generate", d: 1_500, t: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", e: 4, p: [2, 3] },
    body: fromHex("9101aabbcc"),
  },
  { name: "REQUEST", note: "chunked", route: 3, flags: FLAG.CHUNKED, sequence: 3, header: { m: "train", p: [20, 100_000] } },
  { name: "ONEWAY", route: 1, sequence: 4, header: { m: "log" }, body: encodeValues(["line"])[0]! },
  { name: "CANCEL", route: 1, sequence: 1 },
  { name: "REPLY", note: "one part", route: 1, sequence: 1, body: encodeValues(42)[0]! },
  { name: "REPLY", note: "two parts", route: 1, sequence: 2, header: { p: [1, 2] }, body: fromHex("c00102") },
  { name: "ERROR", route: 1, sequence: 1, error: ERROR },
  { name: "ITEM", route: 1, sequence: 2, header: { i: 0 }, body: encodeValues("first")[0]! },
  { name: "END", note: "without a value", route: 1, sequence: 2, header: { n: 3 } },
  { name: "END", note: "with a value", route: 1, sequence: 2, header: { n: 3 }, body: encodeValues({ done: true })[0]! },
  { name: "CHUNK", note: "of the caller", route: 3, sequence: 3, body: counting(16) },
  { name: "CHUNK", note: "of the callee", route: 3, flags: FLAG.FROM_CALLEE, sequence: 3, body: counting(3) },
  { name: "CREDIT", route: 1, body: u32(1_048_576) },
  { name: "DEMAND", route: 1, sequence: 2, body: u32(64, 10) },
  { name: "ACK", route: 1, body: new Uint8Array([...u32(2), ...u64(1, 2 ** 32 + 1)]) },
];

function frames(): unknown[] {
  return FRAMES.map(({ name, note, route = 0, flags = 0, sequence = 0, header, body, error }) => {
    const bytes = error ? encodeControl(error) : (body ?? new Uint8Array(0));
    const head = header ? encodeControl(header) : undefined;
    return {
      name: note ? `${name}: ${note}` : name,
      hex: toHex(encodeFrame(route, KIND[name], flags, sequence, head, bytes)),
      value: { route, kind: KIND[name], flags, sequence, header: header ?? null, body: toHex(bytes), ...(error ? { error } : {}) },
    };
  });
}

const long = (dtype: "f4" | "u1", shape: number[]): Tensor => new Tensor(dtype, shape, counting(5_000));
const VALUES: [string, unknown][] = [
  ["nil", null],
  ["true", true],
  ["false", false],
  ...[0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER].map((n): [string, unknown] => [`integer ${n}`, n]),
  ...[-1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, Number.MIN_SAFE_INTEGER].map((n): [string, unknown] => [`integer ${n}`, n]),
  ["integer 2^53", 2n ** 53n],
  ["integer 2^64 − 1", 2n ** 64n - 1n],
  ["integer −2^63", -(2n ** 63n)],
  ["float 1.5", 1.5],
  ["float 0.1", 0.1],
  ["float −0", -0],
  ["float NaN", Number.NaN],
  ["float Infinity", Number.POSITIVE_INFINITY],
  ["float −Infinity", Number.NEGATIVE_INFINITY],
  ["empty text", ""],
  ["text of 31 bytes", "x".repeat(31)],
  ["text of 32 bytes", "x".repeat(32)],
  ["text of 256 bytes", "x".repeat(256)],
  ["text beyond ASCII", "Grüße 漢字 🐟\u0000"],
  ["empty list", []],
  ["list of 16", Array.from({ length: 16 }, (_, index) => index)],
  ["empty map", {}],
  ["nested", { a: [1, { b: null }], c: { d: "e" } }],
  ["map of 16", Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`k${index}`, index]))],
  ["arguments of a call", [[1, 2], { key: "value" }]],
  ["bytes, empty", new Uint8Array(0)],
  ["bytes in the value", counting(5)],
  ["bytes of 300", counting(300)],
  ["bytes in a part", counting(4_097)],
  ["tensor f4, inline", Float32Array.of(1.5, -2, 0)],
  ["tensor f8, inline, its data of 16 bytes", Float64Array.of(0.5)],
  ["tensor i8", BigInt64Array.of(-1n, 2n ** 62n)],
  ["tensor u8", BigUint64Array.of(2n ** 64n - 1n)],
  ["tensor i2, empty", new Int16Array(0)],
  ["tensor f4 2 × 3", new Tensor("f4", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6))],
  ["tensor f8, scalar", new Tensor("f8", [], Float64Array.of(2.5))],
  ["tensor b1", new Tensor("b1", [3], Uint8Array.of(1, 0, 1))],
  ["tensor bf2", new Tensor("bf2", [2], Uint8Array.of(0x80, 0x3f, 0, 0x40))],
  ["tensor f2", new Tensor("f2", [2, 1], Uint8Array.of(0, 0x3c, 0, 0xc0))],
  ["tensor c8", new Tensor("c8", [1], Uint8Array.of(0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0))],
  ["tensor with a dimension of 0", new Tensor("i4", [0, 5], new Int32Array(0))],
  ["tensor f4 in a part", long("f4", [10, 125])],
  ["two tensors in parts, one inline, in a map", { x: long("f4", [1_250, 1]), y: [long("u1", [50, 100])], z: Int8Array.of(-1) }],
  ["ObjectRef", new ObjectRefWire("obj_1", "node_a/worker_b", "inc_w", 1_024, "node_a/raylet")],
  ["ObjectRef without hints", [new ObjectRefWire("obj_1", "head/driver_z", "inc_d")]],
  ["ActorHandle on loan", new ActorHandleWire("actor_1", "node_a/worker_b", "7")],
  ["ActorHandle that nobody counts", { actor: new ActorHandleWire("actor_1", "head/head") }],
];
/** Forms that others may write and that mean the same. */
const READ_ONLY: [string, string, string[], unknown][] = [
  ["integer 1 in 64 bit", "cf0000000000000001", [], 1],
  ["integer −1 in 8 bit", "d0ff", [], -1],
  ["float 1.5 in 32 bit", "ca3fc00000", [], 1.5],
  ["text with a 32-bit length", "db0000000161", [], "a"],
  ["list with a 32-bit length", "dd0000000101", [], [1]],
  ["map with a 16-bit length", "de0001a16101", [], { a: 1 }],
  ["bytes with a 32-bit length", "c60000000101", [], Uint8Array.of(1)],
  ["bytes as inline tensor", extension(1, ["bytes", [2], Uint8Array.of(1, 255)]), [], Uint8Array.of(1, 255)],
  ["bytes as part", extension(1, ["bytes", [2], 1]), ["01ff"], Uint8Array.of(1, 255)],
  ["one part twice", `92${extension(1, ["f4", [1, 1], 1]).repeat(2)}`, ["0000803f"], [1, 1].map(() => new Tensor("f4", [1, 1], Float32Array.of(1)))],
];

function values(): unknown[] {
  const written = VALUES.map(([name, value]) => {
    const [first, ...parts] = encodeValues(value);
    return { name, hex: toHex(first!), parts: parts.map(toHex), value: toNotation(value) };
  });
  const read = READ_ONLY.map(([name, hex, parts, value]) => ({ name, hex, parts, value: toNotation(value), decodeOnly: true }));
  return [...written, ...read];
}

function errors(): unknown[] {
  const cases: [string, Record<string, unknown>][] = [
    ["the least", { name: "Error", code: "TASK_FAILED", message: "" }],
    ["of ours", ERROR],
    ["retryable", { name: "WhiprayError", code: "BUSY", message: "queue full", retryable: true }],
    ["of a user, with stack and cause", { name: "ValueError", code: "TASK_FAILED", message: "bad größe", stack: "Traceback (most recent call last):\n  …", cause: { name: "KeyError", code: "TASK_FAILED", message: "'x'" } }],
    ["with all of where", { name: "WorkerCrashedError", code: "WORKER_CRASHED", message: "gone", where: { node: "node_a", process: "worker_b", actor: "actor_1", pid: 7, exitCode: 137, signal: "SIGKILL", stderrTail: ["one", "two"], logPath: "/tmp/log" } }],
  ];
  return cases.map(([name, value]) => ({ name, hex: toHex(encodeControl(value)), value: toNotation(value) }));
}

/** An extension of a code with these fields, whether they make sense or not. */
function extension(code: number, fields: unknown): string {
  const data = encodeControl(fields);
  return toHex(Uint8Array.of(0xc7, data.length, code, ...data));
}
const key = (text: string): string => `81${(0xa0 | text.length).toString(16)}${Buffer.from(text).toString("hex")}01`;
const MALFORMED: [string, string, string, "both" | "control" | "values"][] = [
  ["nothing", "", "DECODE_LENGTH", "both"],
  ["array32 of 33 554 431 without data", "dd01ffffff", "DECODE_LENGTH", "both"],
  ["array32 of 2^32 − 1 without data", "ddffffffff", "DECODE_LENGTH", "both"],
  ["map32 without data", "dfffffffff", "DECODE_LENGTH", "both"],
  ["str32 without data", "dbffffffff", "DECODE_LENGTH", "both"],
  ["bin32 without data", "c6ffffffff", "DECODE_LENGTH", "both"],
  ["ext32 without data", "c9ffffffff01", "DECODE_LENGTH", "both"],
  ["array that ends early", "9301", "DECODE_LENGTH", "both"],
  ["map without its value", "81a161", "DECODE_LENGTH", "both"],
  ["length that is cut", "dd0000", "DECODE_LENGTH", "both"],
  ["number that is cut", "cb0000", "DECODE_LENGTH", "both"],
  ["text that is cut", "a36161", "DECODE_LENGTH", "both"],
  ["nested 65 deep", `${"91".repeat(65)}01`, "DECODE_DEPTH", "both"],
  ["nested 65 deep in maps", `${"81a161".repeat(65)}01`, "DECODE_DEPTH", "both"],
  ["0xC1", "c1", "DECODE_BYTE", "both"],
  ["0xC1 in a list", "9201c1", "DECODE_BYTE", "both"],
  ["trailing byte", "0102", "DECODE_TRAILING", "both"],
  ["timestamp extension", "d6ff00000000", "DECODE_EXT", "both"],
  ["extension 0", "d40000", "DECODE_EXT", "both"],
  ["extension 4", "d404c0", "DECODE_EXT", "both"],
  ["extension 0x70", "c7047000000000", "DECODE_EXT", "both"],
  ["extension in an extension", "d60191d401c0", "DECODE_EXT", "values"],
  ["tensor of an unknown dtype", extension(1, ["f16", [1], Uint8Array.of(0, 0)]), "DECODE_EXT", "values"],
  ["tensor of a part that is not there", extension(1, ["u1", [4], 2]), "DECODE_EXT", "values"],
  ["tensor of part 0", extension(1, ["u1", [4], 0]), "DECODE_EXT", "values"],
  ["tensor whose shape does not fit its part", extension(1, ["f4", [2], 1]), "DECODE_EXT", "values"],
  ["tensor whose shape does not fit its bytes", extension(1, ["f4", [2], Uint8Array.of(0)]), "DECODE_EXT", "values"],
  ["tensor with a negative dimension", extension(1, ["u1", [-4], 1]), "DECODE_EXT", "values"],
  ["tensor with a fraction as dimension", extension(1, ["u2", [0.5], Uint8Array.of(0)]), "DECODE_EXT", "values"],
  ["tensor of 33 dimensions", extension(1, ["u1", Array.from({ length: 33 }, () => 1), Uint8Array.of(0)]), "DECODE_EXT", "values"],
  ["tensor of 4 097 bytes inline", `c8100c0193a27531 91cd1001 c51001${"00".repeat(4_097)}`.replaceAll(" ", ""), "DECODE_EXT", "values"],
  ["tensor that is no list", extension(1, null), "DECODE_EXT", "values"],
  ["ObjectRef with too few fields", extension(2, ["obj_1"]), "DECODE_EXT", "values"],
  ["ObjectRef whose id is a number", extension(2, [1, "node_a/raylet", "inc_a", null, null]), "DECODE_EXT", "values"],
  ["ActorHandle that is a map", extension(3, { id: "actor_1" }), "DECODE_EXT", "values"],
  ["extension whose data is cut", "c7020193c0", "DECODE_LENGTH", "values"],
  ["extension whose data goes on", "d501c0c0", "DECODE_TRAILING", "values"],
  ["UTF-8: lone continuation byte", "a180", "DECODE_UTF8", "both"],
  ["UTF-8: overlong", "a2c0af", "DECODE_UTF8", "both"],
  ["UTF-8: surrogate", "a3eda080", "DECODE_UTF8", "both"],
  ["UTF-8: above U+10FFFF", "a4f4908080", "DECODE_UTF8", "both"],
  ["UTF-8: cut", "a2e282", "DECODE_UTF8", "both"],
  ["UTF-8: in a key", "81a1ff01", "DECODE_UTF8", "both"],
  ["key that is a number", "810101", "DECODE_KEY", "both"],
  ["key that is nil", "81c001", "DECODE_KEY", "both"],
  ["key that is a list", "819001", "DECODE_KEY", "both"],
  ["key that is bytes", "81c4016101", "DECODE_KEY", "both"],
  ["key __proto__", key("__proto__"), "DECODE_KEY", "both"],
  ["key constructor", key("constructor"), "DECODE_KEY", "control"],
  ["key prototype", key("prototype"), "DECODE_KEY", "control"],
  ["key twice", "82a16101a16102", "DECODE_KEY", "control"],
  ["key twice, written differently", "82a16101d9016102", "DECODE_KEY", "control"],
];

function malformed(): unknown[] {
  return MALFORMED.flatMap(([name, hex, code, as]) =>
    (["control", "values"] as const).filter((one) => as === "both" || as === one).map((one) => ({ name, hex, code, as: one })),
  );
}

function malformedFrames(): unknown[] {
  return [
    ["length above the limit", "01000800", "FRAME_SIZE"],
    ["length 2^32 − 1", "ff".repeat(20), "FRAME_SIZE"],
    ["header longer than the frame", "0100000000000000010002000000000000000000c0", "FRAME_SIZE"],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n").toString("hex"), "WRONG_PROTOCOL"],
    ["TLS", "16030100f4010000f003030000000000000000000000", "WRONG_PROTOCOL"],
  ].map(([name, hex, code]) => ({ name, hex, code }));
}

/** Name and text of each file. */
export function vectorFiles(): [string, string][] {
  const files: [string, unknown[]][] = [
    ["prefixes.json", prefixes()],
    ["frames.json", frames()],
    ["values.json", values()],
    ["errors.json", errors()],
    ["malformed.json", malformed()],
    ["malformed-frames.json", malformedFrames()],
  ];
  return files.map(([name, entries]) => [name, `[\n${entries.map((entry) => `  ${JSON.stringify(entry)}`).join(",\n")}\n]\n`]);
}

if (import.meta.main) {
  for (const [name, text] of vectorFiles()) writeFileSync(join(import.meta.dirname, name), text);
}

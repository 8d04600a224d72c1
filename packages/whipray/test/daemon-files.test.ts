import { generateKeyPairSync } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WhiprayError } from "@whipray/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { driverUrl } from "../src/node/address-file.io.ts";
import { type Authority, hasAuthority, openAuthority } from "../src/node/authority-files.io.ts";
import { openClusterDirectory, readClusterFile } from "../src/node/cluster-file.io.ts";
import { parseDaemonConfig } from "../src/node/daemon-config.ts";
import { daemonRuns, processStartTime, readDaemonState, writeDaemonState } from "../src/node/daemon-state.io.ts";
import { joinUrl, parseJoinString, showJoinString } from "../src/node/join-string.ts";
import { requireSafe } from "../src/node/safe-bind.ts";
import { CERTIFICATE_NAMES_LIMIT, namesOf, newCertificate } from "../src/node/tls-certificate.io.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "df-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as WhiprayError).code;
  }
  return "";
}

test("a head's directory opened again is the same cluster; its file is its user's alone", () => {
  const first = openClusterDirectory(join(folder, "head"));
  expect(openClusterDirectory(join(folder, "head"))).toEqual(first);
  expect(statSync(join(folder, "head/cluster.json")).mode & 0o777).toBe(0o600);
});

test("a cluster file that others can read, or that is damaged, is refused and left as it is", () => {
  const directory = join(folder, "head");
  openClusterDirectory(directory);
  chmodSync(join(directory, "cluster.json"), 0o644);
  expect(codeOf(() => readClusterFile(directory))).toBe("CLUSTER_FILE_UNSAFE");
  chmodSync(join(directory, "cluster.json"), 0o600);
  for (const text of ["", "{", "[]", "null", '{"clusterId":"cluster_a","secret":"x"}']) {
    writeFileSync(join(directory, "cluster.json"), text);
    expect(codeOf(() => openClusterDirectory(directory))).toBe("CLUSTER_FILE_DAMAGED");
  }
});

test("a join string comes back as it went; others are refused without being repeated", () => {
  const identity = { clusterId: "cluster_abc", token: "a".repeat(64) };
  expect(parseJoinString(`${showJoinString(identity)}\n`)).toEqual(identity);
  for (const text of [
    "",
    "cluster_abc",
    `node_abc:${"a".repeat(64)}`,
    "cluster_abc:geheim",
    `cluster_abc:${"a".repeat(64)}:x`,
  ]) {
    expect(codeOf(() => parseJoinString(text))).toBe("INVALID_JOIN_TOKEN");
    expect(() => parseJoinString(text)).not.toThrow("geheim");
  }
});

test("the join string of a cluster with TLS brings the pin to the address", () => {
  const pin = "c".repeat(64);
  const plain = { clusterId: "cluster_abc", token: "a".repeat(64) };
  const pinned = { ...plain, pin };
  expect(parseJoinString(showJoinString(pinned))).toEqual(pinned);
  expect(codeOf(() => parseJoinString(`${showJoinString(plain)}:${"c".repeat(63)}`))).toBe("INVALID_JOIN_TOKEN");
  expect(joinUrl("h:1", plain)).toBe("ws://h:1");
  for (const address of ["h:1", "wss://h:1", `h:1#pin=${pin}`, `wss://h:1#pin=${pin}`]) {
    expect(joinUrl(address, pinned)).toBe(`wss://h:1#pin=${pin}`);
  }
  expect(joinUrl(`h:1#pin=${pin}`, plain)).toBe(`wss://h:1#pin=${pin}`);
  expect(codeOf(() => joinUrl(`h:1#pin=${"d".repeat(64)}`, pinned))).toBe("TLS_PIN_MISMATCH");
  expect(codeOf(() => joinUrl("ws://h:1", pinned))).toBe("TLS_REQUIRED");
  expect(joinUrl("unix:/run/head.sock", pinned)).toBe("unix:/run/head.sock");
  expect(codeOf(() => joinUrl("h:1#pin=x", plain))).toBe("INVALID_ADDRESS");
});

test("the address file adds the pin of the head that was started here, and of no other", () => {
  const path = join(folder, "address");
  const url = `wss://127.0.0.1:8265#pin=${"c".repeat(64)}`;
  expect(driverUrl("127.0.0.1:8265", path)).toBe("ws://127.0.0.1:8265");
  writeFileSync(path, `${url}\n`);
  for (const same of ["127.0.0.1:8265", "localhost:8265", "[::1]:8265", url]) expect(driverUrl(same, path)).toBe(url);
  expect(driverUrl("127.0.0.1:8266", path)).toBe("ws://127.0.0.1:8266");
  expect(driverUrl("ws://127.0.0.1:8265", path)).toBe("ws://127.0.0.1:8265");
  expect(driverUrl(`127.0.0.1:8265#pin=${"d".repeat(64)}`, path)).toBe(`wss://127.0.0.1:8265#pin=${"d".repeat(64)}`);
  writeFileSync(path, "ws://10.0.0.1:8265\n");
  expect(driverUrl("10.0.0.1:8265", path)).toBe("ws://10.0.0.1:8265");
});

test("beyond this machine nobody sends a token in plain text unasked", () => {
  const path = join(folder, "address");
  for (const address of ["10.0.0.1:8265", "head:8265", "127.0.0.1.evil.example:8265", "[fd00::1]:8265"]) {
    expect(codeOf(() => driverUrl(address, path))).toBe("INSECURE_ADDRESS");
    expect(driverUrl(`ws://${address}`, path)).toBe(`ws://${address}`);
    expect(driverUrl(`wss://${address}`, path)).toBe(`wss://${address}`);
  }
});

describe("the authority of a head's directory", () => {
  const YEAR_MS = 365 * 86_400_000;
  const now = Date.now();
  const key = (): string => join(folder, "tls/authority.key");
  const open = (wallMs = now): Promise<Authority> => openAuthority(folder, "cluster_abc", wallMs);

  test("is the same at every start, and its files are its user's alone", async () => {
    expect(hasAuthority(folder)).toBe(false);
    const first = await open();
    expect(await open()).toEqual(first);
    expect(hasAuthority(folder)).toBe(true);
    expect(statSync(join(folder, "tls")).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(join(folder, "tls"))) {
      expect(statSync(join(folder, "tls", name)).mode & 0o777).toBe(0o600);
    }
  });

  test("near its certificate's end, or without it, gets another one for the same key: the pin stays", async () => {
    const first = await open();
    const { pin } = await newCertificate(["localhost"], first);
    expect(await open(now + 7 * YEAR_MS)).toEqual(first);
    const renewed = await open(now + 9 * YEAR_MS);
    expect(renewed.cert).not.toBe(first.cert);
    expect((await newCertificate(["localhost"], renewed)).pin).toBe(pin);
    for (const text of ["", "rubbish", (await newCertificate(["localhost"])).cert]) {
      writeFileSync(join(folder, "tls/authority.pem"), text);
      expect((await newCertificate(["localhost"], await open())).pin).toBe(pin);
    }
  });

  test("with a key that others can read, that cannot be read, or that is none, is refused, and the key left as it is", async () => {
    await open();
    const text = readFileSync(key());
    chmodSync(key(), 0o640);
    await expect(open()).rejects.toMatchObject({ code: "TLS_KEY_UNSAFE" });
    chmodSync(key(), 0o600);
    const other = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
    for (const damaged of ["", text.subarray(0, 100), other]) {
      writeFileSync(key(), damaged);
      await expect(open()).rejects.toMatchObject({ code: "TLS_KEY_DAMAGED" });
    }
    expect(readFileSync(key(), "utf8")).toBe(other);
    rmSync(key());
    mkdirSync(key());
    await expect(open()).rejects.toMatchObject({ code: "TLS_KEY_DAMAGED" });
  });

  test("a server is named by what it listens on; on all addresses by at most 64", () => {
    expect(namesOf("10.1.2.3", "10.9.9.9")).toEqual(expect.arrayContaining(["localhost", "10.1.2.3", "10.9.9.9"]));
    expect(namesOf("0.0.0.0")).not.toContain("0.0.0.0");
    expect(namesOf("0.0.0.0").length).toBeLessThanOrEqual(CERTIFICATE_NAMES_LIMIT);
  });
});

test("a pid counts only with its start time", () => {
  const startTime = processStartTime(process.pid)!;
  expect(daemonRuns({ pid: process.pid, startTime })).toBe(true);
  expect(daemonRuns({ pid: process.pid, startTime: startTime + 1 })).toBe(false);
});

test("a state file comes back as it was written; anything else is none", () => {
  const path = join(folder, "sub/state.json");
  const state = { kind: "head", state: "starting", pid: 1, startTime: 2 } as const;
  expect(readDaemonState(path)).toBeUndefined();
  writeDaemonState(path, state);
  expect(readDaemonState(path)).toEqual(state);
  writeFileSync(path, '{"kind":"dog","pid":1,"startTime":2}');
  expect(readDaemonState(path)).toBeUndefined();
});

test("a daemon refuses a configuration that is not its own, naming what is wrong", () => {
  const head = { kind: "head", stateFile: "/s", directory: "/d", host: "127.0.0.1", port: 0, tied: false };
  expect(parseDaemonConfig(JSON.stringify(head), "head")).toEqual(head);
  expect(() => parseDaemonConfig(JSON.stringify({ ...head, directory: "" }), "head")).toThrow("directory");
  for (const text of ["", "3", "null", JSON.stringify(head)]) {
    expect(codeOf(() => parseDaemonConfig(text, "raylet"))).toBe("INVALID_CONFIG");
  }
});

test("a bind beyond loopback needs a permission", () => {
  for (const host of ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
    expect(codeOf(() => requireSafe(host, false))).toBe("");
  for (const host of ["0.0.0.0", "::", "10.0.0.1", "example.org"]) {
    expect(codeOf(() => requireSafe(host, false))).toBe("INSECURE_BIND");
    expect(codeOf(() => requireSafe(host, true))).toBe("");
  }
});

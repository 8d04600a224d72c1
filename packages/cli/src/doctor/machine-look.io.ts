import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, statfsSync } from "node:fs";
import { arch, release, type as systemType } from "node:os";
import { asWhiprayError, WhiprayError } from "@whipray/core";
import {
  builtinPlugins,
  type DevicePlugin,
  detectDevices,
  type Fingerprint,
  fakeMachine,
  systemProbe,
} from "@whipray/devices";
import {
  deviceLocks,
  deviceUser,
  lockHolders,
  nodeDevices,
  PluginEyes,
  readHostFacts,
  type SeenDevice,
} from "@whipray/raylet";
import type { Withheld } from "@whipray/rpc";
import { daemons } from "whipray";
import { deviceStatus } from "../device-status.ts";
import type { DaemonReport, DoctorReport, LimitReport, ListenerReport, VendorReport } from "./doctor-report.ts";
import { limitReports } from "./machine-limits.ts";
import { type Listening, parseTcpTable } from "./tcp-table.ts";
import { topologyReport } from "./topology-report.ts";

const PYTHON_LIMIT_MS = 5_000;
const CGROUP_FILES = ["memory.max", "memory.limit_in_bytes", "cpu.max", "cpu.cfs_quota_us", "pids.max"];

/** This machine without its devices. */
export async function hostReport(env: NodeJS.ProcessEnv): Promise<DoctorReport["host"]> {
  const { hostname, cpus, memoryBytes, cgroup } = readHostFacts("");
  const kernel = `${systemType()} ${release()} ${arch()}`;
  return { name: hostname, node: process.version, kernel, cpus, memoryBytes, cgroup, python: await pythonVersion(env) };
}

function pythonVersion(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("python3", ["-I", "-S", "-V"], { env, timeout: PYTHON_LIMIT_MS }, (error, stdout) => {
      resolve(error ? undefined : (/\d+\.\d+\.\d+\S*/.exec(stdout)?.[0] ?? "of an unknown version"));
    });
  });
}

/** No raylet of ours: all that holds a lock is somebody. */
const NOBODY = { cluster: "", nodeId: "", incarnation: "" };

/** Detection as a raylet does it, and one look at what the devices do, and for whom. Never rejects. */
export async function detectionReport(
  env: NodeJS.ProcessEnv,
  nodeName: string,
  fakeDevices: string | undefined,
  runtimeRoot: string,
): Promise<Pick<DoctorReport, "detection" | "topology">> {
  const plugins = builtinPlugins;
  const started = performance.now();
  const tookMs = () => Math.round(performance.now() - started);
  try {
    const probe =
      fakeDevices === undefined
        ? systemProbe({ environment: env, machine: nodeName })
        : fakeMachine(fakeDevices, nodeName);
    const found = await detectDevices({ plugins, probe, environment: env, nodeName });
    const own = `${runtimeRoot}/host/locks`;
    const { locks } = fakeDevices === undefined ? deviceLocks(env, own) : { locks: own };
    const { devices, links } = nodeDevices(found, { locks, node: "" });
    const eyes = new PluginEyes({
      ...{ plugins, probe, devices: found.devices, fingerprints: found.fingerprints },
      userOf: (pid) => deviceUser(pid),
      holders: () => lockHolders(devices, NOBODY),
    });
    const look = await eyes.look(true);
    const states = look.devices.map(({ users: _, holder: __, ...state }) => state);
    const withheld = Object.fromEntries(look.devices.flatMap((seen) => withheldOf(seen)));
    const withHealth = devices.map((device, at) => ({ ...device, ...healthOf(states[at]) }));
    const seen = { states, agoMs: 0, ...(look.stale !== undefined && { stale: look.stale }) };
    return {
      detection: {
        vendors: found.fingerprints.map((fingerprint, at) => vendorReport(plugins[at]!, fingerprint)),
        devices: deviceStatus({ nodeId: "", devices: withHealth, view: { withheld }, seen }, [], []).map(
          (device, at) => {
            const lockedBy = look.devices[at]?.holder?.text;
            return { ...device, ...(lockedBy !== undefined && { lockedBy }) };
          },
        ),
        warnings: found.warnings,
        elapsedMs: tookMs(),
        fake: fakeDevices,
      },
      topology: topologyReport(devices, links),
    };
  } catch (error) {
    const { message } = asWhiprayError(error);
    return {
      detection: { vendors: [], devices: [], warnings: [], elapsedMs: tookMs(), fake: fakeDevices, error: message },
    };
  }
}

/** What no lease of ours explains: a raylet would not offer the device either. */
function withheldOf({ uuid, health, healthReason = "", holder, users = [] }: SeenDevice): [string, Withheld][] {
  if (health === "unhealthy") return [[uuid, { kind: "unhealthy", reason: healthReason }]];
  if (holder && !holder.lease) return [[uuid, { kind: "locked", reason: `its lock is held by ${holder.text}` }]];
  const foreign = users.flatMap((user) => (user.is === "foreign" ? [`foreign pid ${user.pid} (${user.name})`] : []));
  return foreign.length === 0 ? [] : [[uuid, { kind: "busy", reason: foreign.slice(0, 4).join(", ") }]];
}

function healthOf(state: { health: "ok" | "unhealthy" | "unknown"; healthReason?: string | undefined } | undefined) {
  if (!state) return {};
  return { health: state.health, ...(state.healthReason !== undefined && { healthReason: state.healthReason }) };
}

function vendorReport({ resource }: DevicePlugin, fingerprint: Fingerprint): VendorReport {
  const { vendor, state, tool, version, elapsedMs, devices, error, warnings, unusable } = fingerprint;
  return {
    ...{ vendor, resource, state, tool, version, elapsedMs, devices: devices.length, error, warnings },
    unusable: unusable.map(({ reason }) => reason),
  };
}

/** What the kernel and the container allow. */
export function limitsReport(): LimitReport[] {
  const shm = attempt(() => statfsSync("/dev/shm"));
  return limitReports({
    limits: attempt(() => readFileSync("/proc/self/limits", "utf8")) ?? "",
    shmBytes: shm && shm.blocks * shm.bsize,
    shmFreeBytes: shm && shm.bavail * shm.bsize,
    cgroup: ownCgroup(),
  });
}

/** Limits of our own cgroup, v2 and v1. */
function ownCgroup(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of (attempt(() => readFileSync("/proc/self/cgroup", "utf8")) ?? "").split("\n")) {
    const [, controllers, path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined) continue;
    for (const file of CGROUP_FILES) {
      const text = attempt(() =>
        readFileSync(`/sys/fs/cgroup/${controllers.replace("name=", "")}${path}/${file}`, "utf8"),
      );
      if (text !== undefined) found[file] = text.trim();
    }
  }
  return found;
}

/** Daemons that were started by this user. */
export function daemonsReport(folder: string): DaemonReport[] {
  // What cannot be looked at, the report on folders tells.
  return (attempt(() => daemons.listDaemons(folder)) ?? []).map(({ state }) => {
    const { kind, pid, url, fakeDevices, error } = state;
    const runs = daemons.daemonRuns(state);
    return { kind, pid, runs, state: state.state, reason: error?.message, url: url?.replace(/#.*/, ""), fakeDevices };
  });
}

/** What listens on TCP here, with its owner where we may look. */
export function listenersReport(ours: readonly DaemonReport[]): ListenerReport[] {
  const tables = ["/proc/net/tcp", "/proc/net/tcp6"].map((path) => attempt(() => readFileSync(path, "utf8")) ?? "");
  const listening = tables.flatMap(parseTcpTable);
  const owners = socketOwners(listening);
  const reports = listening.map(({ address, port, inode }): ListenerReport => {
    const pid = owners.get(inode);
    const process = pid === undefined ? undefined : processName(pid);
    return { address, port, pid, process, daemon: ours.find((daemon) => daemon.runs && daemon.pid === pid)?.kind };
  });
  return reports.sort((left, right) => left.port - right.port || left.address.localeCompare(right.address));
}

function processName(pid: number): string | undefined {
  // Newer Node.js names its threads: `node-MainThread`.
  return attempt(() =>
    readFileSync(`/proc/${pid}/comm`, "utf8")
      .trim()
      .replace(/-MainThread$/, ""),
  );
}

/** Inode of a socket → the process that has it open; those of other users cannot be seen. */
function socketOwners(listening: readonly Listening[]): Map<number, number> {
  const wanted = new Map(listening.map(({ inode }) => [`socket:[${inode}]`, inode]));
  const owners = new Map<number, number>();
  for (const name of attempt(() => readdirSync("/proc")) ?? []) {
    if (!/^\d+$/.test(name)) continue;
    for (const fd of attempt(() => readdirSync(`/proc/${name}/fd`)) ?? []) {
      const inode = wanted.get(attempt(() => readlinkSync(`/proc/${name}/fd/${fd}`)) ?? "");
      if (inode !== undefined) owners.set(inode, Number(name));
    }
  }
  return owners;
}

/** Files of /proc come and go, and of other users' processes most cannot be read: what is not there is not known. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (typeof (error as NodeJS.ErrnoException).code === "string") return undefined;
    throw new WhiprayError({ code: "INTERNAL", message: String(error), cause: error });
  }
}

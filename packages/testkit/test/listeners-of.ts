import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { parseUnixListeners } from "../src/leak-check-proc.ts";
import { processesOf } from "./outside.ts";

/** A place where a process of a cluster waits for connections, seen from outside. */
export type Listening = { kind: "tcp"; host: string; port: number } | { kind: "unix"; path: string };

/** All of a cluster's listeners: TCP sockets of its processes, and the unix sockets below its directory. */
export function listenersOf(clusterId: string, directory: string): Listening[] {
  const inodes = new Set(processesOf(clusterId).flatMap(socketsOf));
  const tcp = ["tcp", "tcp6"].flatMap((family) => readFileSync(`/proc/net/${family}`, "latin1").split("\n").slice(1));
  const ports = tcp.flatMap((line): Listening[] => {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    if (state !== "0A" || !inodes.has(inode)) return [];
    const [address = "", port = ""] = local.split(":");
    return [{ kind: "tcp", host: addressOf(address), port: Number.parseInt(port, 16) }];
  });
  const paths = parseUnixListeners(readFileSync("/proc/net/unix", "latin1"));
  const sockets = paths
    .filter((path) => path.startsWith(`${directory}/`))
    .map((path): Listening => ({ kind: "unix", path }));
  return [...ports, ...sockets];
}

/** IPv4 lies there in the machine's byte order; IPv6 is left as it is. */
function addressOf(hex: string): string {
  if (hex.length !== 8) return hex;
  return Array.from(Buffer.from(hex, "hex")).reverse().join(".");
}

function socketsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      return inode === undefined ? [] : [inode];
    });
  } catch {
    return []; // it ended, or closed one, while we looked
  }
}

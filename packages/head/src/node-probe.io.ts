import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { hostname as ownHostname } from "node:os";
import { ownPidNamespace } from "@whipray/rpc";
import { PROBE_EVERY_MS } from "./limits.ts";
import type { ProbeAnswer } from "./node-effect.ts";
import type { NodeProber } from "./options.ts";

/**
 * Looks at a raylet from outside: at its port when it has one (a refused connection means that nobody listens, on a host that lives), else
 * at its pid when that is one of ours: of this machine and this pid namespace. Silence is `unknown`: that is what a partition looks like.
 */
export function networkProber(): NodeProber {
  return {
    async probe({ url, pid, hostname, pidNamespace }) {
      if (url !== undefined && /^wss?:/.test(url)) return knock(url);
      return hostname === ownHostname() && pidNamespace === ownPidNamespace() ? lookAtPid(pid) : "unknown";
    },
  };
}

function knock(url: string): Promise<ProbeAnswer> {
  const { promise, resolve } = Promise.withResolvers<ProbeAnswer>();
  const { hostname, port, protocol } = new URL(url);
  const usual = protocol === "wss:" ? 443 : 80;
  const socket = connect({
    host: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port || usual),
    timeout: PROBE_EVERY_MS,
  });
  socket.on("connect", () => resolve("there"));
  socket.on("timeout", () => resolve("unknown"));
  socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED" ? "gone" : "unknown"));
  return promise.finally(() => socket.destroy());
}

function lookAtPid(pid: number): ProbeAnswer {
  try {
    process.kill(pid, 0);
    return isZombie(pid) ? "gone" : "there";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH" ? "gone" : "there";
  }
}

/** Dead, and only not reaped yet by a parent that may never do it. */
function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false; // no /proc here
  }
}

/// <reference path="./node-pty.d.ts" />
import { constants } from "node:os";
import { WhiprayError } from "@whipray/core";
import { ByteTail } from "./byte-tail.ts";
import { KeyPipe } from "./key-pipe.io.ts";
import { statOf } from "./process-table.io.ts";
import type { Child, ProcessExit, SpawnSpec } from "./processes.ts";
import { SCROLLBACK_LIMIT_BYTES, type Terminal } from "./terminal.ts";

/**
 * Starts a process in a pseudo-terminal. node-pty is loaded here, on first use: most raylets never need it.
 * @throws WhiprayError `SPAWN_FAILED`; `TERMINAL_UNAVAILABLE` when node-pty cannot be loaded on this machine.
 */
export async function spawnInTerminal(
  spec: SpawnSpec,
  size: { readonly columns: number; readonly rows: number },
): Promise<Child> {
  const pty = await import("node-pty").catch((cause: unknown) => {
    throw new WhiprayError({
      code: "TERMINAL_UNAVAILABLE",
      message: "node-pty cannot be loaded on this machine",
      cause,
    });
  });
  const options = { cwd: spec.cwd, env: { TERM: "xterm-256color", ...spec.env }, cols: size.columns, rows: size.rows };
  // Without an encoding it gives bytes: a character may be cut in two by any read.
  const process = pty.spawn(spec.command, [...spec.args], { ...options, encoding: null });
  const scrollback = new ByteTail(SCROLLBACK_LIMIT_BYTES);
  const listeners = new Set<(data: Uint8Array) => void>();
  process.onData((data) => {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    scrollback.push(bytes);
    for (const listener of listeners) listener(bytes);
    if (spec.log.write("out", bytes)) return;
    process.pause();
    void spec.log.drained().then(() => process.resume());
  });
  const pipe = new KeyPipe(process.fd);
  process.on("close", () => pipe.close());
  let gone = false;
  const exited = new Promise<ProcessExit>((resolve) => {
    process.onExit(({ exitCode, signal }) => {
      gone = true;
      pipe.close();
      resolve(signal ? { code: null, signal: signalName(signal) } : { code: exitCode, signal: null });
    });
  });
  const terminal: Terminal = {
    scrollback: () => scrollback.kept(),
    write: (keys) => pipe.write(keys),
    resize(columns, rows) {
      if (!gone) process.resize(columns, rows);
    },
    onData(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return {
    pid: process.pid,
    startTime: statOf(process.pid)?.startTime ?? 0,
    terminal,
    exited,
    kill(signal) {
      if (!gone) process.kill(signal);
      return !gone;
    },
  };
}

function signalName(number: number): string {
  const entry = Object.entries(constants.signals).find(([, value]) => value === number);
  return entry?.[0] ?? `SIG${number}`;
}

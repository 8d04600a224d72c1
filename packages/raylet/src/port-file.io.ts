import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import type { DatabaseSync } from "node:sqlite";
import type { PortLease, PortRange } from "./port-table.ts";
import { PortTable, portRange } from "./port-table.ts";
import type { PortProbe, PortStore } from "./ports.ts";
import { openDatabase } from "./sqlite.io.ts";

const LOCK_WAIT_MS = 5_000;

/** Whether the raylet of this incarnation, pid and start time still runs. */
export type RayletAlive = (pid: number, startTime: number) => boolean;

/**
 * The port table of one host in one SQLite file of the shared runtime directory. SQLite is used for its lock alone: the kernel
 * frees it when its holder dies, which no lock made of plain files in Node can promise.
 */
export class PortFile implements PortStore {
  readonly #database: DatabaseSync;
  readonly #range: PortRange;
  readonly #self: { readonly raylet: string; readonly pid: number; readonly startTime: number };
  readonly #alive: RayletAlive;

  constructor(
    path: string,
    self: { readonly raylet: string; readonly pid: number; readonly startTime: number },
    alive: RayletAlive,
  ) {
    this.#range = portRange(readRange());
    this.#self = self;
    this.#alive = alive;
    this.#database = openDatabase(path, { timeout: LOCK_WAIT_MS });
    // Leases end with their raylets, so nothing in here has to survive a power cut.
    this.#database.exec("PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF;");
    this.#database.exec(
      "CREATE TABLE IF NOT EXISTS leases (port INTEGER PRIMARY KEY, owner TEXT NOT NULL, raylet TEXT NOT NULL, pid INTEGER NOT NULL, start INTEGER NOT NULL) STRICT",
    );
  }

  transact<Result>(change: (table: PortTable) => Result): Result {
    const database = this.#database;
    database.exec("BEGIN IMMEDIATE");
    try {
      const rows = database.prepare("SELECT port, owner, raylet, pid, start FROM leases").all() as unknown as Row[];
      const dead = new Set(rows.filter((row) => !this.#alive(row.pid, row.start)).map((row) => row.raylet));
      const table = new PortTable(this.#range, rows);
      table.forget((raylet) => !dead.has(raylet));
      const result = change(table);
      this.#write(rows, table.leases());
      database.exec("COMMIT");
      return result;
    } catch (error) {
      database.exec("ROLLBACK");
      throw error;
    }
  }

  #write(before: readonly Row[], after: readonly PortLease[]): void {
    const kept = new Set(after.map((lease) => lease.port));
    const had = new Set(before.map((row) => row.port));
    const remove = this.#database.prepare("DELETE FROM leases WHERE port = ?");
    const insert = this.#database.prepare("INSERT INTO leases VALUES (?, ?, ?, ?, ?)");
    for (const { port } of before) if (!kept.has(port)) remove.run(port);
    for (const lease of after) {
      if (!had.has(lease.port)) insert.run(lease.port, lease.owner, lease.raylet, this.#self.pid, this.#self.startTime);
    }
  }

  close(): void {
    this.#database.close();
  }
}

interface Row extends PortLease {
  readonly pid: number;
  readonly start: number;
}

/** Binds the port on all addresses, and lets go of it. */
export const bindTest: PortProbe = (port) => {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "0.0.0.0", exclusive: true }, () => server.close(() => resolve(true)));
  });
};

function readRange(): string | undefined {
  try {
    return readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8");
  } catch {
    return undefined;
  }
}

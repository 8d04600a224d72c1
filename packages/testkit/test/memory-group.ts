import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";

/** A control group of the kernel that holds its processes to so much memory (cgroup v1 or v2). */
export class MemoryGroup {
  readonly #path: string;

  /** @throws Error where this machine lets us make none. */
  constructor(name: string, bytes: number) {
    const first = "/sys/fs/cgroup/memory";
    const limit = existsSync(`${first}/memory.limit_in_bytes`) ? "memory.limit_in_bytes" : "memory.max";
    this.#path = `${limit === "memory.max" ? "/sys/fs/cgroup" : first}/${name}`;
    mkdirSync(this.#path);
    writeFileSync(`${this.#path}/${limit}`, String(bytes));
  }

  take(pid: number): void {
    writeFileSync(`${this.#path}/cgroup.procs`, String(pid));
  }

  /** When its processes are gone. */
  remove(): void {
    rmdirSync(this.#path);
  }
}

import { PACKAGE_NAMESPACE, type RuntimeEnvSpec } from "@whipray/rpc";
import type { HeadContext } from "./context.ts";
import { kvId } from "./kv-table.ts";

/** How often packages that nobody needs any more are looked for. */
export const PACKAGE_SWEEP_MS = 10_000;

/**
 * Which packages nobody needs: no job or actor that claimed them is there, and no actor that lives names them. `keys` are all of the packages'
 * namespace (PROTOCOL.md, "Packages"). Pure.
 */
export function unneeded(
  keys: readonly string[],
  there: (claimant: string) => boolean,
  named: () => ReadonlySet<string>,
): string[] {
  const claimed = new Map<string, boolean>();
  for (const key of keys) {
    const [hash, by, claimant] = key.split("/") as [string, string?, string?];
    const open = by === "by" && claimant !== undefined && there(claimant);
    claimed.set(hash, (claimed.get(hash) ?? false) || open);
  }
  const idle = [...claimed].flatMap(([hash, open]) => (open ? [] : [hash]));
  if (idle.length === 0) return [];
  const still = named();
  return idle.filter((hash) => !still.has(hash));
}

/** Removes packages from the key-value store when the last job and actor that need them are gone. */
export class PackageService {
  readonly #ctx: HeadContext;
  #nextMs = 0;

  constructor(ctx: HeadContext) {
    this.#ctx = ctx;
  }

  tick(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + PACKAGE_SWEEP_MS;
    const { kv, jobs, actors, journal, logger } = this.#ctx;
    const keys = kv.keys(PACKAGE_NAMESPACE, "", nowMs);
    const gone = unneeded(
      keys,
      (claimant) => jobs.has(claimant) || (actors.record(claimant)?.state ?? "DEAD") !== "DEAD",
      () => this.#named(),
    );
    for (const hash of gone) {
      for (const key of keys) {
        if (key !== hash && !key.startsWith(`${hash}/`)) continue;
        const id = kvId(PACKAGE_NAMESPACE, key);
        kv.remove(id);
        void journal.save("kv", id);
      }
      logger.debug("a package is needed no more", { hash });
    }
  }

  #named(): ReadonlySet<string> {
    const { actors } = this.#ctx;
    const hashes = new Set<string>();
    for (const actorId of actors.ids()) {
      const record = actors.record(actorId);
      if (!record || record.state === "DEAD") continue;
      for (const hash of packagesOf(record.spec.runtimeEnv)) hashes.add(hash);
    }
    return hashes;
  }
}

function packagesOf(env: RuntimeEnvSpec | undefined): string[] {
  return [...(env?.workingDir ? [env.workingDir.hash] : []), ...(env?.pyModules ?? [])];
}

import { asWhiprayError, type Clock, type Logger, RuntimeEnvSetupError, WhiprayError } from "@whipray/core";
import {
  type Endpoint,
  kvGet,
  openPackage,
  PACKAGE_CHUNK_BYTES,
  PACKAGE_LIMIT_BYTES,
  PACKAGE_NAMESPACE,
  type RuntimeEnvSpec,
  type WorkingCopy,
} from "@whipray/rpc";
import { PackageCache } from "./package-cache.ts";
import type { PackageFolders } from "./package-folders.ts";

/** One chunk of a package from the head. */
const CHUNK_TIMEOUT_MS = 60_000;

/** A runtime environment that is there. */
export interface ReadyEnv {
  readonly workingCopy?: WorkingCopy;
  /** Folders that come first when engines import. */
  readonly pythonPath: readonly string[];
  /** Interpreter of engines. */
  readonly python?: string;
  /** Nothing runs in it any more; again is fine. */
  release(): void;
}

export interface RuntimeEnvsOptions {
  readonly endpoint: Endpoint;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly folders: PackageFolders | undefined;
  readonly cache?: PackageCache;
}

const BARE: ReadyEnv = { pythonPath: [], release() {} };

/** Makes runtime environments on this node: packages from the head, unpacked once each, and kept for the next (Ray: runtime_env agent). */
export class RuntimeEnvs {
  readonly #options: RuntimeEnvsOptions;
  readonly #cache: PackageCache;
  readonly #paths = new Map<string, Promise<string>>();
  /** Removals under way, which a new copy of the same package waits for. */
  readonly #removals = new Map<string, Promise<void>>();

  constructor(options: RuntimeEnvsOptions) {
    this.#options = options;
    this.#cache = options.cache ?? new PackageCache();
  }

  /**
   * Settles when all of it is there. Its user calls `release` when it is gone.
   * @throws RuntimeEnvSetupError with what failed, or that it took longer than its `setupTimeoutMs`.
   */
  async prepare(spec: RuntimeEnvSpec | undefined, signal: AbortSignal): Promise<ReadyEnv> {
    if (!spec) return BARE;
    const { nodeId, clock } = this.#options;
    const given = Promise.withResolvers<never>();
    given.promise.catch(() => {}); // heard only while it is made
    const timer = clock.after(spec.setupTimeoutMs, () => given.reject(late(spec.setupTimeoutMs)), { keepAlive: true });
    const abort = (): void => given.reject(asWhiprayError(signal.reason, "CANCELLED"));
    signal.addEventListener("abort", abort, { once: true });
    const used: string[] = [];
    const release = (): void => {
      for (const hash of used.splice(0)) this.#leave(hash);
    };
    const need = (hash: string): Promise<string> => {
      used.push(hash);
      const path = this.#need(hash);
      // What could not be made has no users.
      path.catch(() => {
        if (used.includes(hash)) used.splice(used.indexOf(hash), 1);
      });
      return path;
    };
    try {
      signal.throwIfAborted();
      const directory = spec.workingDir && need(spec.workingDir.hash);
      const modules = (spec.pyModules ?? []).map(need);
      const [path, pythonPath] = await Promise.race([Promise.all([directory, Promise.all(modules)]), given.promise]);
      return {
        ...(spec.workingDir && path !== undefined && { workingCopy: { origin: spec.workingDir.origin, path } }),
        pythonPath,
        ...(spec.python !== undefined && { python: spec.python }),
        release,
      };
    } catch (thrown) {
      release();
      const cause = asWhiprayError(thrown);
      throw new RuntimeEnvSetupError({
        message: `The runtime environment could not be made on ${nodeId}: ${cause.message}`,
        retryable: cause.retryable,
        details: { node: nodeId, cause: cause.code },
        cause,
      });
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", abort);
    }
  }

  #need(hash: string): Promise<string> {
    if (this.#cache.use(hash)) {
      const path = this.#make(hash);
      this.#paths.set(hash, path);
      path.catch(() => {
        this.#paths.delete(hash);
        this.#cache.failed(hash);
      });
    }
    return this.#paths.get(hash)!;
  }

  async #make(hash: string): Promise<string> {
    const { folders, nodeId, logger } = this.#options;
    if (!folders) throw new WhiprayError({ code: "UNSUPPORTED", message: `${nodeId} takes no packages` });
    await this.#removals.get(hash);
    const members = await openPackage({ hash, bytes: await this.#fetch(hash) });
    const path = await folders.unpack(hash, members);
    const bytes = members.reduce((sum, { content }) => sum + content.length, 0);
    this.#cache.made(hash, bytes);
    logger.info("package unpacked", { hash, bytes, files: members.length });
    return path;
  }

  #leave(hash: string): void {
    for (const removed of this.#cache.leave(hash)) {
      this.#paths.delete(removed);
      const gone = this.#options.folders?.remove(removed).catch((error: unknown) => {
        this.#options.logger.error("a package was not removed", { hash: removed, error: String(error) });
      });
      if (!gone) continue;
      this.#removals.set(removed, gone);
      void gone.then(() => this.#removals.delete(removed));
    }
  }

  /** The bytes of a package, from the head's key-value store. */
  async #fetch(hash: string): Promise<Uint8Array> {
    const { endpoint, headUrl } = this.#options;
    const head = endpoint.connect({ to: "head/head", url: headUrl, purpose: "data", restarts: true });
    const get = async (key: string): Promise<Uint8Array> => {
      const { value } = await head.invoke(
        kvGet,
        { namespace: PACKAGE_NAMESPACE, key },
        { timeoutMs: CHUNK_TIMEOUT_MS },
      );
      if (value) return value;
      const message = `package ${hash} is not with the head: the job that brought it has ended`;
      throw new WhiprayError({ code: "PACKAGE_NOT_FOUND", message, details: { hash } });
    };
    const chunks = Number(Buffer.from(await get(hash)).toString());
    const limit = Math.ceil(PACKAGE_LIMIT_BYTES / PACKAGE_CHUNK_BYTES);
    if (!Number.isSafeInteger(chunks) || chunks < 1 || chunks > limit) {
      const message = `package ${hash} says that it has ${chunks} chunks; the limit is ${limit}`;
      throw new WhiprayError({ code: "UNSAFE_ARCHIVE", message, details: { hash, limit } });
    }
    const parts: Uint8Array[] = [];
    for (let chunk = 0; chunk < chunks; chunk++) parts.push(await get(`${hash}/${chunk}`));
    return Buffer.concat(parts);
  }
}

function late(setupTimeoutMs: number): WhiprayError {
  const message = `it was not there within ${setupTimeoutMs} ms; setupTimeoutMs allows more`;
  return new WhiprayError({ code: "DEADLINE_EXCEEDED", message, details: { setupTimeoutMs } });
}

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
import { IDLE_PACKAGES_LIMIT_BYTES, KeepCache } from "./keep-cache.ts";
import { KeptFolders, type Made } from "./kept-folders.ts";
import type { PackageFolders } from "./package-folders.ts";
import { IDLE_VENVS_LIMIT, type VenvAsk, type Venvs, venvName } from "./venvs.ts";

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
  /** Without them, what needs them is refused. */
  readonly folders: PackageFolders | undefined;
  readonly venvs: Pick<Venvs, "make" | "remove"> | undefined;
  readonly cache?: KeepCache;
}

const BARE: ReadyEnv = { pythonPath: [], release() {} };

/**
 * Makes runtime environments on this node (Ray: runtime_env agent): packages from the head, unpacked once each, and virtual
 * environments, made once each; both are kept for the next.
 */
export class RuntimeEnvs {
  readonly #options: RuntimeEnvsOptions;
  readonly #packages: KeptFolders;
  readonly #venvs: KeptFolders;
  /** Ends what is being installed. */
  readonly #closed = new AbortController();

  constructor(options: RuntimeEnvsOptions) {
    this.#options = options;
    const { folders, venvs, logger, cache = new KeepCache(IDLE_PACKAGES_LIMIT_BYTES) } = options;
    this.#packages = new KeptFolders(cache, async (name) => folders?.remove(name), logger);
    this.#venvs = new KeptFolders(new KeepCache(IDLE_VENVS_LIMIT), async (name) => venvs?.remove(name), logger);
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
    const uses = new Set<() => void>();
    const release = (): void => {
      for (const leave of uses) leave();
      uses.clear();
    };
    const use = (kept: KeptFolders, name: string, make: () => Promise<Made>): Promise<string> => {
      const leave = (): void => kept.leave(name);
      uses.add(leave);
      const path = kept.use(name, make);
      path.catch(() => uses.delete(leave)); // what could not be made has no users
      return path;
    };
    const unpacked = (hash: string): Promise<string> => use(this.#packages, hash, () => this.#unpack(hash));
    try {
      signal.throwIfAborted();
      const { workingDir, pyModules = [], packages, python } = spec;
      const venv = packages && { packages, python: python ?? "python3" };
      const made = Promise.all([
        workingDir && unpacked(workingDir.hash),
        Promise.all(pyModules.map(unpacked)),
        venv ? use(this.#venvs, venvName(venv), () => this.#install(venv, spec.setupTimeoutMs)) : python,
      ]);
      const [path, pythonPath, interpreter] = await Promise.race([made, given.promise]);
      return {
        ...(workingDir && path !== undefined && { workingCopy: { origin: workingDir.origin, path } }),
        pythonPath,
        ...(interpreter !== undefined && { python: interpreter }),
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

  /** Ends what is being installed. */
  close(): void {
    this.#closed.abort(new WhiprayError({ code: "NODE_LEAVING", message: `${this.#options.nodeId} is leaving` }));
  }

  async #unpack(hash: string): Promise<Made> {
    const { folders, nodeId, logger } = this.#options;
    if (!folders) throw new WhiprayError({ code: "UNSUPPORTED", message: `${nodeId} takes no packages` });
    const members = await openPackage({ hash, bytes: await this.#fetch(hash) });
    const path = await folders.unpack(hash, members);
    const weight = members.reduce((sum, { content }) => sum + content.length, 0);
    logger.info("package unpacked", { hash, bytes: weight, files: members.length });
    return { path, weight };
  }

  /** At most as long as its first user waits. */
  async #install(venv: VenvAsk, timeoutMs: number): Promise<Made> {
    const { venvs, nodeId, clock, logger } = this.#options;
    if (!venvs) throw new WhiprayError({ code: "UNSUPPORTED", message: `${nodeId} installs no packages` });
    const limit = new AbortController();
    const timer = clock.after(timeoutMs, () => limit.abort(late(timeoutMs)), { keepAlive: true });
    try {
      const path = await venvs.make(venv, AbortSignal.any([limit.signal, this.#closed.signal]));
      logger.info("virtual environment made", { tool: venv.packages.tool, path });
      return { path, weight: 1 };
    } finally {
      timer.cancel();
    }
  }

  /** The bytes of a package, from the head's key-value store. */
  async #fetch(hash: string): Promise<Uint8Array> {
    const { endpoint, headUrl } = this.#options;
    const head = endpoint.connect({ to: "head/head", url: headUrl, purpose: "data", restarts: true });
    const get = async (key: string): Promise<Uint8Array> => {
      const request = { namespace: PACKAGE_NAMESPACE, key };
      const { value } = await head.invoke(kvGet, request, { timeoutMs: CHUNK_TIMEOUT_MS });
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

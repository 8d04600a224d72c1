import {
  kvGet,
  kvPut,
  type Member,
  PACKAGE_CHUNK_BYTES,
  PACKAGE_NAMESPACE,
  type Package,
  packMembers,
  type RuntimeEnvSpec,
} from "@whipray/rpc";
import type { Driver } from "./driver.ts";
import { packRules } from "./pack-rules.ts";
import { directoryMembers, moduleMembers } from "./packed-files.io.ts";
import { type CheckedRuntimeEnv, checkRuntimeEnv, mergedEnv, type RuntimeEnv } from "./runtime-env.ts";

const EMPTY = new Uint8Array();

/** The runtime environments of this process: packs what belongs to them, and leaves it with the head, once each. */
export class RuntimeEnvs {
  readonly #driver: Driver;
  /** Inside of an actor or a task: its own, for those that it makes without one. */
  inherited: RuntimeEnvSpec | undefined;
  /** The program's own, around all that it makes. */
  #around: RuntimeEnv | undefined;
  /** Who needs what is uploaded: the actor that this process is, which may outlive its job; else the job. */
  claimant: string | undefined;
  /** Hashes of what lies with the head, by what was packed. */
  readonly #packed = new Map<string, Promise<string>>();

  constructor(driver: Driver) {
    this.#driver = driver;
  }

  /** Puts it around all that this program makes (Ray: the runtime_env of a job). @throws WhiprayError as `checkRuntimeEnv` and `spec`. */
  async surround(env: RuntimeEnv): Promise<void> {
    await this.spec(checkRuntimeEnv(env));
    this.#around = env;
  }

  /** Options of an actor or a task inside of it. */
  within<T extends { runtimeEnv?: RuntimeEnv }>(options: T): T {
    return this.#around ? { ...options, runtimeEnv: mergedEnv(this.#around, options.runtimeEnv) } : options;
  }

  /** As nodes take it; they find its packages with the head. @throws WhiprayError `INVALID_PATH`, `PACKAGE_TOO_LARGE`, `LIMIT`. */
  async spec(env: CheckedRuntimeEnv | undefined): Promise<RuntimeEnvSpec | undefined> {
    if (!env) return this.inherited;
    const { workingDir, pyModules, excludes, python, packages, setupTimeoutMs } = env;
    const left = packRules(excludes);
    const modules = pyModules.map((module) => {
      return this.#once(JSON.stringify(["module", module, excludes]), () => moduleMembers(module, left));
    });
    const directory =
      workingDir !== undefined &&
      this.#once(JSON.stringify(["directory", workingDir, excludes]), () => directoryMembers(workingDir, left));
    const [hashes, hash] = await Promise.all([Promise.all(modules), directory]);
    return {
      ...(workingDir !== undefined && hash && { workingDir: { hash, origin: workingDir } }),
      ...(hashes.length > 0 && { pyModules: hashes }),
      ...(python !== undefined && { python }),
      ...(packages && { packages }),
      setupTimeoutMs,
    };
  }

  #once(key: string, members: () => Promise<Member[]>): Promise<string> {
    const known = this.#packed.get(key);
    if (known) return known;
    const packed = members().then(async (found) => this.#upload(await packMembers(found)));
    this.#packed.set(key, packed);
    packed.catch(() => this.#packed.delete(key)); // the next use may find the file that was missing
    return packed;
  }

  /** The claim comes first: what it names stays, or was gone before it, and is sent again. */
  async #upload({ hash, bytes }: Package): Promise<string> {
    const driver = this.#driver;
    const put = (key: string, value: Uint8Array) => {
      return driver.ask(kvPut, { namespace: PACKAGE_NAMESPACE, key, value, overwrite: true });
    };
    await put(`${hash}/by/${this.claimant ?? driver.jobId}`, EMPTY);
    const { value } = await driver.ask(kvGet, { namespace: PACKAGE_NAMESPACE, key: hash });
    if (value) return hash;
    const chunks = Math.ceil(bytes.length / PACKAGE_CHUNK_BYTES);
    for (let chunk = 0; chunk < chunks; chunk++) {
      await put(`${hash}/${chunk}`, bytes.subarray(chunk * PACKAGE_CHUNK_BYTES, (chunk + 1) * PACKAGE_CHUNK_BYTES));
    }
    // Last: who finds it finds all.
    await put(hash, Buffer.from(String(chunks)));
    return hash;
  }
}

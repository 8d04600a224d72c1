import { execFile } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { MARK } from "./family.ts";

const run = promisify(execFile);

/** Changes to this process's environment; undefined takes a variable away. */
export type Env = Record<string, string | undefined>;

export interface Daemons {
  /** Environment of a driver on this machine. */
  env: Env;
  /** Environment of one that does not find the raylet's socket: as on another machine, through the head's port alone. */
  remoteEnv: Env;
  stop(): Promise<void>;
}

/** `whipray start --head` with its defaults (token, journal), with a home of its own below `folder`. */
export async function startDaemons(whipray: string, folder: string, mark: string): Promise<Daemons> {
  const home = join(folder, "home");
  const elsewhere = join(folder, "remote");
  for (const path of [home, elsewhere]) mkdirSync(path, { recursive: true, mode: 0o700 });
  const env = { ...unset(), HOME: home, [MARK]: mark };
  const cli = async (...args: string[]): Promise<string> =>
    (await run(process.execPath, [whipray, ...args], { env: { ...process.env, ...env }, timeout: 120_000 })).stdout;
  const started = JSON.parse(await cli("start", "--head", "--port", "0", "--resources", '{"custom":100}', "--json"));
  const { address, tokenFile } = started as { address: string; tokenFile: string };
  const token = readFileSync(tokenFile, "utf8").trim();
  return {
    env: { ...env, WHIPRAY_ADDRESS: address },
    remoteEnv: { ...env, HOME: elsewhere, WHIPRAY_ADDRESS: address, WHIPRAY_TOKEN: token },
    stop: async () => void (await cli("stop")),
  };
}

/** A user's own settings must not reach the measured cluster. */
function unset(): Env {
  const names = Object.keys(process.env).filter((name) => /^(WHIPRAY_(?!BENCH_)|XDG_)/.test(name));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

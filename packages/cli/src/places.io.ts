import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { WhiprayError } from "@whipray/core";
import { runtimeRoot } from "@whipray/raylet";
import { daemons } from "whipray";

/** Files and folders of this user that the CLI knows. */
export interface Places {
  /** Sockets and state files of what runs now; empty after a reboot. */
  runtimeRoot: string;
  /** State files of the daemons. */
  daemons: string;
  /** The head's journal and identity, and the daemons' logs: stays. */
  state: string;
  token: string;
  /** Where `start` puts the head's address, with its pin where it speaks TLS. */
  address: string;
  joinToken: string;
}

/** A home that depends on where somebody stands would lose the cluster with the next `cd`. @throws WhiprayError `USAGE` */
export function checkHome(env: NodeJS.ProcessEnv): void {
  const home = env["HOME"];
  if (home === undefined || home.startsWith("/")) return;
  throw new WhiprayError({ code: "USAGE", message: `HOME must be an absolute path; it is ${JSON.stringify(home)}` });
}

export function placesOf(env: NodeJS.ProcessEnv = process.env): Places {
  const home = env["HOME"] ?? homedir();
  const root = runtimeRoot(env, home);
  const config = join(env["XDG_CONFIG_HOME"] ?? join(home, ".config"), "whipray");
  return {
    runtimeRoot: root,
    daemons: daemons.daemonsFolder(root),
    state: env["WHIPRAY_STATE_DIR"] ?? join(env["XDG_STATE_HOME"] ?? join(home, ".local/state"), "whipray"),
    token: daemons.tokenPath(env),
    address: daemons.addressPath(env),
    joinToken: join(config, "join-token"),
  };
}

/**
 * Which head: the flag or WHIPRAY_ADDRESS (commander gives the flag precedence), else the address file.
 * Given as HOST:PORT of the head that was started here, it has the file's pin.
 * @throws WhiprayError `INVALID_ADDRESS`, `INSECURE_ADDRESS`, `NO_ADDRESS`.
 */
export function addressOf(given: string | undefined, places: Places): string {
  if (given !== undefined) return daemons.driverUrl(given, places.address);
  if (!existsSync(places.address)) {
    throw new WhiprayError({
      code: "NO_ADDRESS",
      message: `No cluster is known: give --address HOST:8265, or start one with "whipray start --head" (looked for ${places.address})`,
    });
  }
  return daemons.driverUrl(readFileSync(places.address, "utf8").trim());
}

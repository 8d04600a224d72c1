import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname } from "node:path";
import { AuthenticationError } from "@whipray/core";

const TOKEN_PATTERN = /^[0-9a-f]{64}$/;

/** Where `whipray start` puts the driver's token, and drivers look for it. */
export function tokenPath(env: NodeJS.ProcessEnv = process.env): string {
  return env["WHIPRAY_TOKEN_PATH"] ?? `${homedir()}/.config/whipray/token`;
}

/**
 * The driver's token: WHIPRAY_TOKEN, else the token file. @throws WhiprayError `UNAUTHENTICATED` when there is none, or when
 * others could read the file.
 */
export function readToken(env: NodeJS.ProcessEnv = process.env): string {
  const path = tokenPath(env);
  const given = env["WHIPRAY_TOKEN"];
  if (given === undefined && !existsSync(path)) {
    throw new AuthenticationError({
      message: `No token: set WHIPRAY_TOKEN, or put the one that "whipray start --head" made into ${path}`,
    });
  }
  if (given === undefined && (statSync(path).mode & 0o077) !== 0) {
    throw new AuthenticationError({ message: `${path} can be read by others; chmod 600 it` });
  }
  const token = (given ?? readFileSync(path, "utf8")).trim();
  if (!TOKEN_PATTERN.test(token))
    throw new AuthenticationError({
      message: `The token ${given === undefined ? `in ${path}` : "in WHIPRAY_TOKEN"} is not 64 hex digits`,
    });
  return token;
}

/** Writes a token so that only this user can read it. */
export function writeToken(token: string, path = tokenPath()): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, `${token}\n`, { mode: 0o600 });
}

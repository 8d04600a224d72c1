import { readFileSync } from "node:fs";

/** The version of this package, and so of all of Whipray; package.json is beside `src` and beside `dist`. */
export function ownVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return manifest.version;
}

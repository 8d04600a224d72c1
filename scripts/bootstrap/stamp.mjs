import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

/**
 * A stamp inside an installed folder says from which inputs it was made; whoever deletes the folder deletes the stamp.
 * @param {string[]} files inputs read by content
 * @param {string[]} facts inputs that are no files (platform, versions)
 */
export function inputsHash(files, facts) {
  const hash = createHash("sha256").update(JSON.stringify(facts));
  for (const file of files) hash.update(`\0${file}\0`).update(readFileSync(file));
  return hash.digest("hex");
}

/** @param {string} stamp @param {string} hash */
export function stampMatches(stamp, hash) {
  return existsSync(stamp) && readFileSync(stamp, "utf8").trim() === hash;
}

/** @param {string} stamp @param {string} hash */
export function writeStamp(stamp, hash) {
  writeFileSync(stamp, `${hash}\n`);
}

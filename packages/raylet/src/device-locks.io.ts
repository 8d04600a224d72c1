import { chmodSync, lstatSync, mkdirSync, type Stats, statSync } from "node:fs";
import { asWhiprayError, WhiprayError } from "@whipray/core";

/** Folder of lock files that somebody chose: of one that several containers of a machine mount, say. */
export const DEVICE_LOCKS_VARIABLE = "WHIPRAY_DEVICE_LOCKS";
/** Where every user of a machine may make files and nobody can remove another's; the first one that is so is for all of them. */
const SHARED_FOLDERS = ["/run/lock", "/tmp"];
const STICKY_AND_OPEN = 0o1777;

/**
 * Where the locks of real devices lie. A device is one thing for all who can reach it, whatever their user, home or runtime
 * folder, so its lock has to be as well; hence no rule here looks at who asks. Files are opened so that neither a link nor another user's file is
 * ever written through (whipray_guard_io.py); what is in them is told, never obeyed.
 * @param own this user's own folder, for a machine that has none for all; then `warning` says what is lost.
 * @throws WhiprayError `INVALID_PATH` for a chosen folder that is not absolute, or whose last part cannot be made.
 */
export function deviceLocks(
  env: Readonly<Record<string, string | undefined>>,
  own: string,
  look: (path: string) => Pick<Stats, "uid" | "mode" | "isDirectory"> | undefined = lookAt,
): { locks: string; warning?: string } {
  const chosen = env[DEVICE_LOCKS_VARIABLE];
  if (chosen !== undefined && chosen !== "") return { locks: made(chosen) };
  const shared = SHARED_FOLDERS.find((folder) => {
    const found = look(folder);
    return found?.isDirectory() === true && found.uid === 0 && (found.mode & STICKY_AND_OPEN) === STICKY_AND_OPEN;
  });
  if (shared !== undefined) return { locks: shared };
  const warning = `no folder for the locks of all users (${SHARED_FOLDERS.join(", ")}, mode 1777): those in ${own} hold for this user alone`;
  return { locks: own, warning };
}

function lookAt(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function made(folder: string): string {
  const refuse = (why: string, cause?: unknown): WhiprayError => {
    const path = folder.slice(0, 200);
    const message = `${DEVICE_LOCKS_VARIABLE}=${JSON.stringify(path)} ${why}`;
    return new WhiprayError({ code: "INVALID_PATH", message, details: { path }, cause });
  };
  if (!folder.startsWith("/") || folder.includes("\0")) throw refuse("must be an absolute path");
  try {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return folder;
    // The last part alone: Node's recursive form never ends below /proc. Who makes it, makes it for all.
    mkdirSync(folder);
    chmodSync(folder, STICKY_AND_OPEN);
  } catch (error) {
    throw refuse(`cannot be made: ${asWhiprayError(error).message}`, error);
  }
  return folder;
}

import { rm } from "node:fs/promises";

/** Removes the socket file of a door; its engine has done that already, as a rule. */
export function removeDoor(path: string): Promise<void> {
  return rm(path, { force: true });
}

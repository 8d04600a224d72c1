import { readFileSync, readlinkSync } from "node:fs";

let known: { name: string | undefined } | undefined;

/**
 * Names the space in which this process' pid means something: the boot of its kernel and its pid namespace, such as
 * `5c2f…/pid:[4026531836]`. Undefined where there is no /proc: there a machine has one space. Pids may be compared between processes that
 * give the same name; host names alone tell nothing, containers share them and so do machines made from one image.
 */
export function ownPidNamespace(): string | undefined {
  known ??= { name: look() };
  return known.name;
}

function look(): string | undefined {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return undefined;
  }
}

import { join, relative, sep } from "node:path";
import type { WorkingCopy } from "@whipray/rpc";

/** Where a file below the origin lies in the copy; undefined for one that is not below it. Pure. */
export function copiedPath({ origin, path }: WorkingCopy, file: string): string | undefined {
  return moved(origin, path, file);
}

/** Where a file of the copy lies in the origin; undefined for one that is not in the copy. Pure. */
export function originalPath({ origin, path }: WorkingCopy, file: string): string | undefined {
  return moved(path, origin, file);
}

function moved(from: string, to: string, file: string): string | undefined {
  const inside = relative(from, file);
  const outside = inside === "" || inside === ".." || inside.startsWith(`..${sep}`);
  return outside ? undefined : join(to, inside);
}

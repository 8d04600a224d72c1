import { WhiprayError } from "@whipray/core";

/** Path under which a raylet's port gives the bytes of an object from an offset on (PROTOCOL.md, "Byte streams"). */
export function objectPath(id: string, from: number): string {
  return `/objects/${id}?from=${from}`;
}

/** @throws WhiprayError `INVALID_ARGUMENT` for what `objectPath` never makes. */
export function readObjectPath(path: string): { id: string; from: number } {
  const [, id = "", digits = ""] = /^\/objects\/(obj_[a-z0-9]{1,64})\?from=(\d{1,16})$/.exec(path) ?? [];
  const from = Number(digits);
  if (id === "" || !Number.isSafeInteger(from)) {
    const message = `${path.slice(0, 200)} names no bytes; they are at /objects/ID?from=OFFSET`;
    throw new WhiprayError({ code: "INVALID_ARGUMENT", message });
  }
  return { id, from };
}

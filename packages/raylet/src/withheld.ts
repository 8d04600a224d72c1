import type { NodeView, Withheld } from "@whipray/rpc";

export type WithheldKind = Withheld["kind"];
/** What is told when a device is held back for several reasons: the one that lasts longest. */
const ORDER: readonly WithheldKind[] = ["quarantined", "unhealthy", "locked", "busy"];
const REASON_LIMIT_CHARS = 512;

/** Devices that are not offered, and why: each kind of reason comes and goes by itself. Pure. */
export class WithheldDevices {
  readonly #reasons = new Map<string, Map<WithheldKind, string>>();

  /** Without a reason the device is not held back for this kind any more. False when nothing changed. */
  set(uuid: string, kind: WithheldKind, reason: string | undefined): boolean {
    const known = this.#reasons.get(uuid) ?? new Map<WithheldKind, string>();
    const text = reason?.slice(0, REASON_LIMIT_CHARS);
    if (known.get(kind) === text) return false;
    if (text === undefined) known.delete(kind);
    else known.set(kind, text);
    if (known.size === 0) this.#reasons.delete(uuid);
    else this.#reasons.set(uuid, known);
    return true;
  }

  /** Why this device is not offered; undefined when it is. */
  why(uuid: string): Withheld | undefined {
    const known = this.#reasons.get(uuid);
    const kind = known && ORDER.find((one) => known.has(one));
    return kind && { kind, reason: known.get(kind)! };
  }

  /** As a view tells them. */
  all(): NonNullable<NodeView["withheld"]> {
    return Object.fromEntries([...this.#reasons.keys()].map((uuid) => [uuid, this.why(uuid)!]));
  }
}

/** For reasons of a refusal: `busy: foreign pid 77`. */
export function showWithheld({ kind, reason }: Withheld): string {
  return `${kind}: ${reason}`;
}

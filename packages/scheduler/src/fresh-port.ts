import { type Logger, WhiprayError } from "@whipray/core";
import { PortAllocationError } from "./errors.ts";

/** Where ranks meet. */
export interface MasterAddress {
  readonly ip: string;
  readonly port: number;
}

/** Ports that one gang attempt may use up. */
export const MASTER_PORT_TRIES = 3;
/** Causes of an error that are looked at. */
const CAUSES_LIMIT = 8;
/** As Node, Python (errno 98 on Linux) and torch's TCPStore say it. */
const IN_USE = /\bEADDRINUSE\b|address (?:is )?already in use|\berrno 98\b/i;
/** A port as messages name it: `port: 29500`, `127.0.0.1:29500`, `('::', 29500)`. */
const NAMED_PORT = /(?:\bport\W{1,3}|:|,\s?)(\d{4,5})\b/gi;

/**
 * Whether an error says that this port was taken by somebody else: in its message, its stack of where it was raised, its last lines
 * of output, or those of a cause. Words that name other ports alone are about those.
 */
export function saysPortInUse(error: unknown, port: number): boolean {
  const lines = textsOf(error)
    .flatMap((text) => text.split("\n"))
    .filter((line) => IN_USE.test(line));
  return lines.some((line) => {
    const named = [...line.matchAll(NAMED_PORT)].map((found) => Number(found[1]));
    return named.length === 0 || named.includes(port);
  });
}

function textsOf(error: unknown): string[] {
  const texts: string[] = [];
  let one: unknown = error;
  for (let depth = 0; one instanceof Error && depth < CAUSES_LIMIT; depth++, one = one.cause) {
    texts.push(one.message);
    if ("remoteStack" in one && typeof one.remoteStack === "string") texts.push(one.remoteStack);
    if (one instanceof WhiprayError) texts.push(...(one.where?.stderrTail ?? []));
  }
  return texts;
}

/**
 * Runs `attempt` with a port, and again with another one while it fails because a stranger took the port between our lease and its use
 * (design.md, mechanism 13). The port that was taken stays leased, so that nobody is given it. @throws PortAllocationError after
 * MASTER_PORT_TRIES of them; any other failure as it is.
 */
export async function withFreshPort<T>(
  lease: () => Promise<MasterAddress>,
  attempt: (address: MasterAddress, attempt: number) => Promise<T>,
  logger: Logger,
): Promise<T> {
  const taken: number[] = [];
  for (;;) {
    const address = await lease();
    try {
      return await attempt(address, taken.length + 1);
    } catch (error) {
      if (!saysPortInUse(error, address.port)) throw error;
      taken.push(address.port);
      logger.warn("a leased port was taken before its use", { ...address, try: taken.length });
      if (taken.length < MASTER_PORT_TRIES) continue;
      throw new PortAllocationError(
        `${taken.length} ports of ${address.ip} (${taken.join(", ")}) were leased, and each was taken by another process before its use; the limit is ${MASTER_PORT_TRIES} tries. Keep that process out of the raylet's port range`,
        { cause: error },
      );
    }
  }
}

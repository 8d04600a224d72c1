import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Role } from "./call.ts";

/** 256 bits in hex. */
const SECRET_BYTES = 32;

/** A new cluster's secret, from the operating system's randomness: 64 hex digits. The tokens of all roles come from it. */
export function newClusterSecret(): string {
  return randomBytes(SECRET_BYTES).toString("hex");
}

/**
 * The token of one role (design.md, mechanism 15): HMAC-SHA256 of the role under the cluster's secret, in hex. Who holds a
 * role's token learns neither the secret nor another role's token.
 */
export function roleToken(secret: string, role: Role): string {
  return createHmac("sha256", secret).update(`whipray-role:${role}`).digest("hex");
}

/** SHA-256 of a token in hex: what may be stored and compared where the token itself should not lie. */
export function tokenDigest(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** Whether the presented token has this digest. Takes the same time wherever a difference lies, and for any length. */
export function tokenMatches(presented: string, digestHex: string): boolean {
  const expected = Buffer.from(digestHex, "hex");
  const actual = createHash("sha256").update(presented).digest();
  return expected.length === actual.length && timingSafeEqual(actual, expected);
}

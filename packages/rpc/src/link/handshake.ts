import { WhiprayError } from "@whipray/core";
import { PURPOSES, type Purpose, ROLES, type Role } from "../call.ts";
import { decodeControl, encodeControl } from "../codec.ts";
import { count, type Infer, list, oneOf, optional, shape, str } from "../fields.ts";
import { PROTOCOL_VERSIONS, SESSION_RESUME_MS } from "../limits.ts";

/** What this implementation can do beyond version 1; a peer that lacks a feature does without. */
export const FEATURES: readonly string[] = [];

const helloField = shape({
  magic: str(16),
  v: list(count(65_535), 2),
  role: oneOf(...ROLES),
  token: str(256),
  address: str(256),
  inc: str(64),
  purpose: oneOf(...PURPOSES),
  features: list(str(64), 64),
  pid: optional(count()),
  cluster: optional(str(64)),
});
export type Hello = Infer<typeof helloField>;

const welcomeField = shape({
  v: count(65_535),
  address: str(256),
  inc: str(64),
  cluster: optional(str(64)),
  features: list(str(64), 64),
  resumeMs: count(),
});
export type Welcome = Infer<typeof welcomeField>;

/** Who is at the other end of a link. */
export interface LinkIdentity {
  readonly role: Role | undefined;
  readonly address: string;
  readonly incarnation: string;
  readonly purpose: Purpose;
  readonly pid: number | undefined;
}

/** What this process says of itself in HELLO and WELCOME. */
export interface Introduction {
  address: string;
  incarnation: string;
  role: Role;
  token: string;
  cluster?: string | undefined;
  pid?: number | undefined;
}

export function encodeHello(self: Introduction, purpose: Purpose): Uint8Array {
  return encodeControl({
    magic: "whipray",
    v: PROTOCOL_VERSIONS,
    role: self.role,
    token: self.token,
    address: self.address,
    inc: self.incarnation,
    purpose,
    features: FEATURES,
    pid: self.pid,
    cluster: self.cluster,
  });
}

/** @throws WhiprayError `WRONG_PROTOCOL` for anything that is no HELLO of ours, `VERSION` naming both ranges (B3, B4). */
export function readHello(header: Uint8Array): Hello {
  let hello: Hello;
  try {
    hello = helloField(decodeControl(header), "hello");
  } catch (cause) {
    throw new WhiprayError({ code: "WRONG_PROTOCOL", message: "The first frame is no Whipray HELLO", cause });
  }
  if (hello.magic !== "whipray") {
    throw new WhiprayError({ code: "WRONG_PROTOCOL", message: "The first frame does not have the magic of Whipray" });
  }
  commonVersion(hello.v);
  return hello;
}

function commonVersion(theirs: number[]): number {
  const [min, max] = [theirs[0] ?? 0, theirs[1] ?? 0];
  const version = Math.min(max, PROTOCOL_VERSIONS[1]);
  if (version < Math.max(min, PROTOCOL_VERSIONS[0])) {
    throw new WhiprayError({
      code: "VERSION",
      message: `No common protocol version: this side speaks ${PROTOCOL_VERSIONS.join(" to ")}, the other ${min} to ${max}; upgrade the older one`,
      details: { ours: PROTOCOL_VERSIONS, theirs: [min, max] },
    });
  }
  return version;
}

export function encodeWelcome(self: Introduction, hello: Hello): Uint8Array {
  return encodeControl({
    v: commonVersion(hello.v),
    address: self.address,
    inc: self.incarnation,
    cluster: self.cluster,
    features: FEATURES.filter((feature) => hello.features.includes(feature)),
    resumeMs: SESSION_RESUME_MS,
  });
}

export function readWelcome(header: Uint8Array): Welcome {
  try {
    return welcomeField(decodeControl(header), "welcome");
  } catch (cause) {
    throw new WhiprayError({
      code: "WRONG_PROTOCOL",
      message: "The other side answered HELLO with something else than WELCOME",
      cause,
    });
  }
}

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { isIP } from "node:net";
import { bits, der, integer, objectId, octets, sequence, TRUE, text, time } from "./der.ts";
import { pinOf } from "./pin.ts";

const DAY_MS = 86_400_000;
/** How long a certificate is good. */
export const CERTIFICATE_LIFETIME_MS = 3_653 * DAY_MS;
/** Clocks of other machines may be behind ours by this much. */
export const CERTIFICATE_SKEW_MS = DAY_MS;

/** A key and what proves it, as PEM. `cert` of a server is its whole chain. */
export interface KeyedCertificate {
  cert: string;
  key: string;
}

/** What a TLS server needs, and the pin that its address carries. */
export interface ServerCertificate extends KeyedCertificate {
  pin: string;
}

/** A new private key on the curve P-256, as PEM (PKCS #8). */
export function newTlsKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

/**
 * The certificate of an authority that signs servers' certificates, and no other authorities. `name` is what people see.
 * @throws Error when `key` is no private key.
 */
export function authorityCertificate(key: string, name: string, wallMs: number): string {
  const own = createPrivateKey(key);
  const subject = distinguishedName(name);
  return certificate({ subject, subjectKey: own, issuer: subject, issuerKey: own, wallMs }, [
    // An authority, of servers only.
    extension("2.5.29.19", sequence(TRUE, integer(Buffer.of(0))), "critical"),
    // keyCertSign
    extension("2.5.29.15", bits(Buffer.of(0x04), 2), "critical"),
    extension("2.5.29.14", octets(keyId(own))),
  ]);
}

export interface ServerCertificateOptions {
  /** Host names and IP addresses that the server is asked by. The first is the one that people see. */
  names: readonly [string, ...string[]];
  wallMs: number;
  /** Who signs; without it the certificate signs itself. Its `name` must be that of `authorityCertificate`. */
  authority?: (KeyedCertificate & { name: string }) | undefined;
}

/** A new key and certificate for a server, with the authority's behind its own. */
export function serverCertificate({ names, wallMs, authority }: ServerCertificateOptions): ServerCertificate {
  const key = newTlsKey();
  const own = createPrivateKey(key);
  const issuerKey = authority ? createPrivateKey(authority.key) : own;
  const subject = distinguishedName(names[0]);
  const issuer = authority ? distinguishedName(authority.name) : subject;
  const cert = certificate({ subject, subjectKey: own, issuer, issuerKey, wallMs }, [
    // Not an authority.
    extension("2.5.29.19", sequence(), "critical"),
    // digitalSignature
    extension("2.5.29.15", bits(Buffer.of(0x80), 7), "critical"),
    // serverAuth
    extension("2.5.29.37", sequence(objectId("1.3.6.1.5.5.7.3.1"))),
    extension("2.5.29.17", sequence(...names.map(alternativeName))),
    extension("2.5.29.14", octets(keyId(own))),
    extension("2.5.29.35", sequence(der(0x80, keyId(issuerKey)))),
  ]);
  return { cert: cert + (authority?.cert ?? ""), key, pin: pinOf(authority?.key ?? key) };
}

interface Subject {
  subject: Buffer;
  subjectKey: KeyObject;
  issuer: Buffer;
  issuerKey: KeyObject;
  wallMs: number;
}

const ECDSA_SHA256 = sequence(objectId("1.2.840.10045.4.3.2"));

// RFC 5280, 4.1
function certificate({ subject, subjectKey, issuer, issuerKey, wallMs }: Subject, extensions: Buffer[]): string {
  const validity = sequence(time(wallMs - CERTIFICATE_SKEW_MS), time(wallMs + CERTIFICATE_LIFETIME_MS));
  const version3 = der(0xa0, integer(Buffer.of(2)));
  const content = sequence(
    ...[version3, integer(randomBytes(16)), ECDSA_SHA256, issuer, validity, subject],
    ...[publicDer(subjectKey), der(0xa3, sequence(...extensions))],
  );
  const whole = sequence(content, ECDSA_SHA256, bits(sign("sha256", content, issuerKey)));
  const lines = whole.toString("base64").replace(/.{1,64}/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`;
}

function extension(id: string, content: Buffer, critical?: "critical"): Buffer {
  return sequence(objectId(id), ...(critical ? [TRUE] : []), octets(content));
}

/** A common name alone: 64 characters at most. */
function distinguishedName(commonName: string): Buffer {
  return sequence(der(0x31, sequence(objectId("2.5.4.3"), text(commonName.slice(0, 64)))));
}

function alternativeName(name: string): Buffer {
  return isIP(name) === 0 ? der(0x82, Buffer.from(name, "latin1")) : der(0x87, ipBytes(name));
}

/** The 4 or 16 bytes of an IP address. */
function ipBytes(ip: string): Buffer {
  if (isIP(ip) === 4) return Buffer.from(ip.split(".").map(Number));
  // As an URL has it: no zone, no dotted part.
  const [head = "", tail] = new URL(`http://[${ip.split("%", 1)[0]}]`).hostname.slice(1, -1).split("::");
  const groups = (part: string | undefined): string[] => (part ? part.split(":") : []);
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join(""), "hex");
}

function publicDer(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: "spki", format: "der" }) as Buffer;
}

/** RFC 7093: 160 bits of a SHA-256. */
function keyId(key: KeyObject): Buffer {
  return createHash("sha256").update(publicDer(key)).digest().subarray(0, 20);
}

/** The few forms of DER (ITU-T X.690) that a certificate is written in. */

/** One element: tag, length, content in pieces. */
export function der(tag: number, ...pieces: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(pieces);
  const size = content.length;
  if (size < 0x80) return Buffer.concat([Buffer.of(tag, size), content]);
  const length = wholeBytes(BigInt(size));
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, content]);
}

export const sequence = (...pieces: readonly Uint8Array[]): Buffer => der(0x30, ...pieces);
export const octets = (content: Uint8Array): Buffer => der(0x04, content);
/** `unused`: bits of the last byte that do not count. */
export const bits = (content: Uint8Array, unused = 0): Buffer => der(0x03, Buffer.of(unused), content);
export const text = (value: string): Buffer => der(0x0c, Buffer.from(value, "utf8"));
export const TRUE = der(0x01, Buffer.of(0xff));

/** A number that is not negative, given as its bytes, highest first. */
export function integer(magnitude: Uint8Array): Buffer {
  const first = magnitude.findIndex((byte) => byte !== 0);
  const bytes = first < 0 ? Buffer.of(0) : magnitude.subarray(first);
  // A leading 1 bit would make it negative.
  return bytes[0]! < 0x80 ? der(0x02, bytes) : der(0x02, Buffer.of(0), bytes);
}

/** `1.2.840.10045.4.3.2` */
export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const arcs = [first * 40 + second, ...rest].map((arc) => {
    const digits = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80);
    return Buffer.from(digits);
  });
  return der(0x06, ...arcs);
}

/** Whole seconds of UTC. X.509 wants two-digit years until 2049 and four digits from 2050 (RFC 5280, 4.1.2.5). */
export function time(wallMs: number): Buffer {
  const digits = `${new Date(wallMs).toISOString().slice(0, 19).replace(/\D/g, "")}Z`;
  const short = wallMs < Date.UTC(2050, 0);
  return der(short ? 0x17 : 0x18, Buffer.from(short ? digits.slice(2) : digits, "latin1"));
}

function wholeBytes(value: bigint): Buffer {
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
}

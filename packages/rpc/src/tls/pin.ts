import { createHash, createPublicKey, timingSafeEqual, type X509Certificate } from "node:crypto";
import { WhiprayError } from "@whipray/core";

/** The pin (see `PIN_PATTERN`) of a key or certificate in PEM. It stays when a certificate is made anew for the same key. */
export function pinOf(pem: string): string {
  return hashOf(createPublicKey(pem)).toString("hex");
}

/**
 * Whether the chain that a TLS server presented (its own certificate first) proves the pinned key: the server's own key has
 * the pin, or an authority's has it whose certificate lies in the chain and who signed the server's. Names are not looked at:
 * a server is the same behind a tunnel. Pure.
 *
 * @param chain TLS has proved that the server holds the key of the first one, and nothing more.
 * @throws WhiprayError `TLS_PIN_MISMATCH`, `TLS_CERT_EXPIRED`, `TLS_CERT_NOT_YET_VALID`; none is retryable.
 */
export function checkPin(url: string, pin: string, chain: readonly X509Certificate[], wallMs: number): void {
  const [own, ...issuers] = chain;
  const trusted = own && proves(own, issuers, Buffer.from(pin, "hex"));
  if (!trusted) {
    const found = chain.map((one) => hashOf(one.publicKey).toString("hex"));
    throw new WhiprayError({
      code: "TLS_PIN_MISMATCH",
      message:
        `${url} is not the server that was asked for, and was told nothing: the pin is ${pin}, its certificates have ` +
        `${found.join(" and ") || "none"}. Somebody may be in between, another cluster may listen there now, or the head's TLS ` +
        `key was removed: then take the address and the join string that "whipray start --head" prints now`,
      details: { url, expected: pin, found },
    });
  }
  for (const one of trusted) checkTime(url, one, wallMs);
}

/** The certificates that the trust rests on. */
function proves(
  own: X509Certificate,
  issuers: readonly X509Certificate[],
  pin: Buffer,
): readonly X509Certificate[] | undefined {
  if (hasPin(own, pin)) return [own];
  const authority = issuers.find((one) => hasPin(one, pin));
  const signed = authority?.ca === true && own.checkIssued(authority) && own.verify(authority.publicKey);
  return signed ? [own, authority] : undefined;
}

function hasPin(certificate: X509Certificate, pin: Buffer): boolean {
  const hash = hashOf(certificate.publicKey);
  return hash.length === pin.length && timingSafeEqual(hash, pin);
}

function hashOf(key: X509Certificate["publicKey"]): Buffer {
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest();
}

function checkTime(url: string, certificate: X509Certificate, wallMs: number): void {
  const { validFrom, validTo } = certificate;
  const early = wallMs < Date.parse(validFrom);
  if (!early && wallMs <= Date.parse(validTo)) return;
  throw new WhiprayError({
    code: early ? "TLS_CERT_NOT_YET_VALID" : "TLS_CERT_EXPIRED",
    message:
      `The certificate of ${url} is good from ${validFrom} to ${validTo}, and it is ${new Date(wallMs).toISOString()} here. ` +
      (early ? "Set the clocks" : "Start that process again: it makes a new one for the same pin; or set this clock"),
    details: { url, validFrom, validTo },
  });
}

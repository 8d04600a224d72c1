import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { WhiprayError } from "@whipray/core";
import { certificates, type KeyedCertificate } from "@whipray/rpc";
import { writeFileAtomic } from "./daemon-state.io.ts";

/** Below this much time left, the authority's certificate is made anew, for the same key: its pin stays. */
export const AUTHORITY_RENEWAL_MS = 2 * 365 * 86_400_000;

/** Who signs the certificate of a cluster's head. The pin of its key is in the join string and in addresses. */
export interface Authority extends KeyedCertificate {
  name: string;
}

function keyFile(directory: string): string {
  return join(directory, "tls", "authority.key");
}

/** Whether the cluster of this directory began with TLS. */
export function hasAuthority(directory: string): boolean {
  return existsSync(keyFile(directory));
}

/**
 * The authority of a head's directory, made on the first start with TLS: `tls/authority.key` (mode 0600; the identity that machines know the
 * head by) and `tls/authority.pem` (its certificate, for other clients).
 * @throws WhiprayError `TLS_KEY_UNSAFE` when others can read the key; `TLS_KEY_DAMAGED` when it cannot be read or is no key.
 */
export async function openAuthority(directory: string, clusterId: string, wallMs: number): Promise<Authority> {
  const { authorityCertificate, newTlsKey } = await certificates();
  const path = keyFile(directory);
  if (!hasAuthority(directory)) writeFileAtomic(path, newTlsKey());
  const key = readKey(path);
  const name = `whipray ${clusterId}`;
  const certificateFile = join(directory, "tls", "authority.pem");
  const known = readCertificate(certificateFile);
  if (known?.checkPrivateKey(createPrivateKey(key)) && Date.parse(known.validTo) - wallMs > AUTHORITY_RENEWAL_MS) {
    return { name, key, cert: known.toString() };
  }
  const cert = authorityCertificate(key, name, wallMs);
  writeFileAtomic(certificateFile, cert);
  return { name, key, cert };
}

function readKey(path: string): string {
  let key: string;
  try {
    key = readFileSync(path, "utf8");
    const { asymmetricKeyDetails } = createPrivateKey(key);
    if (asymmetricKeyDetails?.namedCurve !== "prime256v1") throw new Error("it is not a P-256 key");
  } catch (cause) {
    throw new WhiprayError({
      code: "TLS_KEY_DAMAGED",
      message:
        `${path} cannot be used: ${String(cause)}. Put a copy back; or remove the folder tls, and the next start with --tls makes ` +
        "a new one: all machines and programs then need the new join string or address",
      cause,
    });
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new WhiprayError({
      code: "TLS_KEY_UNSAFE",
      message: `${path} proves who the head is and can be read by others; chmod 600 it`,
    });
  }
  return key;
}

/** Undefined when there is none that can be used: another is made for the key. */
function readCertificate(path: string): X509Certificate | undefined {
  try {
    return new X509Certificate(readFileSync(path));
  } catch {
    return undefined;
  }
}

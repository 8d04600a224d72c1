// Who makes certificates is a daemon that starts with TLS: nobody else loads them.

/** Makes keys and certificates: see certificate.ts. */
export function certificates(): Promise<typeof import("./certificate.ts")> {
  return import("./certificate.ts");
}

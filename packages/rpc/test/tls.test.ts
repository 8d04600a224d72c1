import { X509Certificate } from "node:crypto";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { SimulatedClock, type WhiprayError } from "@whipray/core";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import {
  type Channel,
  dialTransport,
  FAILED_TRY_DELAY_MS,
  HANDSHAKE_TIMEOUT_MS,
  type KeyedCertificate,
  type Listener,
  listenWebSocket,
  pinIn,
  withoutPin,
  withPin,
} from "../src/index.ts";
import {
  authorityCertificate,
  CERTIFICATE_LIFETIME_MS,
  CERTIFICATE_SKEW_MS,
  newTlsKey,
  serverCertificate,
} from "../src/tls/certificate.ts";
import { integer, objectId, time } from "../src/tls/der.ts";
import { checkPin, pinOf } from "../src/tls/pin.ts";
import { numbered, Recorder, until } from "./frames.ts";

const DAY_MS = 86_400_000;
const NOW = Date.now();
const NAME = "whipray cluster_test";
const TOKEN = "raylet-token";

interface Authority extends KeyedCertificate {
  name: string;
}

function newAuthority(wallMs = NOW, key = newTlsKey()): Authority {
  return { name: NAME, key, cert: authorityCertificate(key, NAME, wallMs) };
}

function blocks(pem: string): X509Certificate[] {
  return pem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----\n/g)!.map((one) => new X509Certificate(one));
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as WhiprayError).code;
  }
  return "";
}

describe("certificates", () => {
  test("a server's certificate names its hosts and addresses, is signed by the authority, and is no authority itself", () => {
    const authority = newAuthority();
    const names = ["head.example", "10.1.2.3", "fe80::1:2", "::1", "::ffff:1.2.3.4"] as const;
    const { cert, key, pin } = serverCertificate({ names: [...names], wallMs: NOW, authority });
    const [own, issuer] = blocks(cert);
    expect(own!.subjectAltName).toBe(
      "DNS:head.example, IP Address:10.1.2.3, IP Address:FE80:0:0:0:0:0:1:2, IP Address:0:0:0:0:0:0:0:1, " +
        "IP Address:0:0:0:0:0:FFFF:102:304",
    );
    expect(own!.checkIssued(issuer!) && own!.verify(issuer!.publicKey)).toBe(true);
    expect([own!.ca, issuer!.ca]).toEqual([false, true]);
    expect(own!.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(pin).toBe(pinOf(authority.cert));
    expect(pinOf(key)).toBe(pinOf(cert));
    expect(pinOf(key)).not.toBe(pin);
  });

  test("it is good for ten years, and already was yesterday: clocks differ", () => {
    const [own] = blocks(serverCertificate({ names: ["localhost"], wallMs: NOW }).cert);
    expect(Date.parse(own!.validTo) - NOW).toBeGreaterThan(CERTIFICATE_LIFETIME_MS - 1_000);
    expect(CERTIFICATE_LIFETIME_MS).toBeGreaterThan(10 * 365 * DAY_MS);
    expect(NOW - Date.parse(own!.validFrom)).toBeGreaterThanOrEqual(CERTIFICATE_SKEW_MS);
  });

  test("an authority's certificate made anew for the same key has the same pin, and another serial", () => {
    const key = newTlsKey();
    const [before, after] = [newAuthority(NOW, key), newAuthority(NOW + 9 * 365 * DAY_MS, key)];
    expect(pinOf(before.cert)).toBe(pinOf(after.cert));
    expect(blocks(before.cert)[0]!.serialNumber).not.toBe(blocks(after.cert)[0]!.serialNumber);
  });

  test("from 2050 on, years have four digits", () => {
    const [own] = blocks(serverCertificate({ names: ["localhost"], wallMs: Date.UTC(2051, 5) }).cert);
    expect([own!.validFrom, own!.validTo]).toEqual(["May 31 00:00:00 2051 GMT", "Jun  1 00:00:00 2061 GMT"]);
  });

  test("DER: numbers, ids and times as the standard has them", () => {
    expect(integer(Buffer.from("000080", "hex")).toString("hex")).toBe("02020080");
    expect(integer(Buffer.from("00", "hex")).toString("hex")).toBe("020100");
    expect(objectId("1.2.840.10045.4.3.2").toString("hex")).toBe("06082a8648ce3d040302");
    expect(
      time(Date.UTC(2049, 11, 31, 23, 59, 59))
        .subarray(2)
        .toString(),
    ).toBe("491231235959Z");
    expect(time(Date.UTC(2050, 0)).subarray(2).toString()).toBe("20500101000000Z");
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 200n }), (value) => {
        const hex = value.toString(16);
        const coded = integer(Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex"));
        expect(coded[1]).toBe(coded.length - 2);
        expect(coded[2]! < 0x80).toBe(true);
        expect(BigInt(`0x${coded.subarray(2).toString("hex")}`)).toBe(value);
      }),
    );
  });
});

describe("the pin", () => {
  const authority = newAuthority();
  const { cert, pin } = serverCertificate({ names: ["localhost"], wallMs: NOW, authority });
  const [own, issuer] = blocks(cert);
  const check = (pinned: string, chain: (X509Certificate | undefined)[], wallMs = NOW): string =>
    codeOf(() => checkPin("wss://h:1", pinned, chain as X509Certificate[], wallMs));

  test("is proved by the authority behind the certificate, and by the certificate's own key", () => {
    expect(check(pin, [own, issuer])).toBe("");
    expect(check(pinOf(cert), [own])).toBe("");
  });

  test("is not proved without the authority's certificate, by another chain, or by none", () => {
    const other = blocks(serverCertificate({ names: ["localhost"], wallMs: NOW, authority: newAuthority() }).cert);
    expect([[own], other, []].map((chain) => check(pin, chain))).toEqual(Array(3).fill("TLS_PIN_MISMATCH"));
  });

  test("the true authority's certificate behind a forged one proves nothing: it must have signed it", () => {
    const key = newTlsKey();
    const impostor = { name: NAME, key, cert: authorityCertificate(key, NAME, NOW) };
    const [forged] = blocks(serverCertificate({ names: ["localhost"], wallMs: NOW, authority: impostor }).cert);
    expect(check(pin, [forged!, issuer])).toBe("TLS_PIN_MISMATCH");
    const [selfSigned] = blocks(serverCertificate({ names: ["localhost"], wallMs: NOW }).cert);
    expect(check(pin, [selfSigned!, issuer])).toBe("TLS_PIN_MISMATCH");
  });

  test("a pinned server is no authority: what its key signed for others is refused", () => {
    const server = serverCertificate({ names: ["node"], wallMs: NOW });
    const signer = { name: "node", key: server.key, cert: server.cert };
    const chain = blocks(serverCertificate({ names: ["other"], wallMs: NOW, authority: signer }).cert);
    expect(check(server.pin, chain)).toBe("TLS_PIN_MISMATCH");
  });

  test("an expired certificate, or one of tomorrow, is refused although the pin is right", () => {
    expect(check(pin, [own, issuer], NOW + CERTIFICATE_LIFETIME_MS + 1_000)).toBe("TLS_CERT_EXPIRED");
    expect(check(pin, [own, issuer], NOW - CERTIFICATE_SKEW_MS - 2_000)).toBe("TLS_CERT_NOT_YET_VALID");
    const old = newAuthority(NOW - 11 * 365 * DAY_MS);
    const chain = blocks(serverCertificate({ names: ["localhost"], wallMs: NOW, authority: old }).cert);
    expect(check(pinOf(old.cert), chain)).toBe("TLS_CERT_EXPIRED");
  });

  test("an error says what was expected, and what was found", () => {
    const wanted = "0".repeat(64);
    expect(() => checkPin("wss://h:1", wanted, [own!, issuer!], NOW)).toThrow(
      expect.objectContaining({
        details: { url: "wss://h:1", expected: wanted, found: [pinOf(cert), pin] },
        retryable: false,
      }),
    );
  });

  test("lies in the address, and comes out as it went in; what else follows # is refused", () => {
    const url = withPin("wss://10.0.0.1:8265", pin);
    expect([pinIn(url), withoutPin(url), pinIn(withoutPin(url))]).toEqual([pin, "wss://10.0.0.1:8265", undefined]);
    expect(withPin(url, pin)).toBe(url);
    for (const wrong of [
      "wss://h:1#",
      "wss://h:1#pin=",
      `wss://h:1#pin=${pin}0`,
      "wss://h:1#x",
      `ws://h:1#pin=${pin}`,
    ]) {
      expect(codeOf(() => pinIn(wrong))).toBe("INVALID_ADDRESS");
    }
  });
});

describe("a listener with TLS", () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });
  const authority = newAuthority();
  const certificate = serverCertificate({ names: ["localhost", "127.0.0.1"], wallMs: NOW, authority });
  const { pin } = certificate;

  async function serve(
    options: { tls?: KeyedCertificate; clock?: SimulatedClock } = { tls: certificate },
  ): Promise<Listener & { channels: Channel[] }> {
    const channels: Channel[] = [];
    const listener = await listenWebSocket({
      ...options,
      authorize: (token) => (token === TOKEN ? "raylet" : undefined),
      onChannel: (channel) => channels.push(channel),
    });
    closing.push(
      () => channels.forEach((channel) => void channel.destroy()),
      () => listener.close(),
    );
    return { ...listener, channels };
  }

  /** A server that is none of ours; `got` is what a client told it, inside of TLS where there is TLS. */
  async function fake(server: Server): Promise<{ port: number; got: () => string }> {
    const seen: Buffer[] = [];
    const sockets = new Set<Socket>();
    server.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
    });
    const listen = (socket: Socket): void => {
      socket.on("error", () => {});
      socket.on("data", (bytes: Buffer) => seen.push(bytes));
    };
    server.on("secureConnection", listen);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closing.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return { port: (server.address() as AddressInfo).port, got: () => Buffer.concat(seen).toString("latin1") };
  }

  const dial = (url: string, timeoutMs = 5_000): Promise<Channel> =>
    dialTransport().dial(url, { token: TOKEN, timeoutMs });

  test("is reached by the address with its pin, under any name that leads there", async () => {
    const { url, channels } = await serve();
    const port = Number(new URL(url).port);
    for (const host of ["127.0.0.1", "localhost"]) {
      const channel = await dial(withPin(`wss://${host}:${port}`, pin));
      closing.push(() => channel.destroy());
    }
    await until(() => channels.length === 2);
    const seen = new Recorder();
    channels[0]!.start(seen);
    const channel = await dial(withPin(url, pin));
    closing.push(() => channel.destroy());
    await until(() => channels.length === 3);
    channels[2]!.start(seen);
    channel.send([numbered(1)]);
    await until(() => seen.frames.length === 1);
  });

  test("OpenSSL verifies chain and names for clients that were given the authority instead of the pin", async () => {
    const { url, channels } = await serve();
    const port = Number(new URL(url).port);
    const other = dialTransport({ ca: authority.cert });
    for (const host of ["127.0.0.1", "localhost"]) {
      const channel = await other.dial(`wss://${host}:${port}`, { token: TOKEN });
      closing.push(() => channel.destroy());
    }
    await until(() => channels.length === 2);
    const elsewhere = serverCertificate({ names: ["elsewhere"], wallMs: NOW, authority });
    const { port: wrong, got } = await fake(createTlsServer(elsewhere));
    await expect(other.dial(`wss://127.0.0.1:${wrong}`, { token: TOKEN })).rejects.toMatchObject({
      code: "TLS_UNTRUSTED",
    });
    expect(got()).toBe("");
  });

  test("a server with another pin learns nothing: not a byte of the token, not even a request", async () => {
    const impostor = serverCertificate({ names: ["127.0.0.1"], wallMs: NOW, authority: newAuthority() });
    const { port, got } = await fake(createTlsServer(impostor));
    await expect(dial(withPin(`wss://127.0.0.1:${port}`, pin))).rejects.toMatchObject({
      code: "TLS_PIN_MISMATCH",
      retryable: false,
    });
    // With its own pin it hears the token: the recorder works.
    await expect(dial(withPin(`wss://127.0.0.1:${port}`, impostor.pin), 500)).rejects.toMatchObject({
      code: "TIMEOUT",
    });
    expect(got().match(/GET /g)).toHaveLength(1);
    expect(got()).toContain(TOKEN);
  });

  test("a server that shows the true authority's certificate behind a forged one learns nothing either", async () => {
    const key = newTlsKey();
    const impostor = { name: NAME, key, cert: authorityCertificate(key, NAME, NOW) };
    const forged = serverCertificate({ names: ["127.0.0.1"], wallMs: NOW, authority: impostor });
    const [own] = forged.cert.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----\n/g)!;
    const { port, got } = await fake(createTlsServer({ key: forged.key, cert: own! + authority.cert }));
    await expect(dial(withPin(`wss://127.0.0.1:${port}`, pin))).rejects.toMatchObject({ code: "TLS_PIN_MISMATCH" });
    expect(got()).toBe("");
  });

  test("an expired certificate is TLS_CERT_EXPIRED, and nothing was told", async () => {
    const old = serverCertificate({ names: ["127.0.0.1"], wallMs: NOW - 11 * 365 * DAY_MS });
    const { port, got } = await fake(createTlsServer(old));
    await expect(dial(withPin(`wss://127.0.0.1:${port}`, old.pin))).rejects.toMatchObject({ code: "TLS_CERT_EXPIRED" });
    expect(got()).toBe("");
  });

  test("TLS before 1.3 is not spoken", async () => {
    const { port } = await fake(createTlsServer({ ...certificate, maxVersion: "TLSv1.2" }));
    await expect(dial(withPin(`wss://127.0.0.1:${port}`, pin))).rejects.toMatchObject({ code: "WRONG_PROTOCOL" });
  });

  test("without a pin, and with no authority that the system knows, it is TLS_UNTRUSTED", async () => {
    const { url } = await serve();
    await expect(dial(url)).rejects.toMatchObject({ code: "TLS_UNTRUSTED", retryable: false });
  });

  test("who speaks plain text to it is told TLS_REQUIRED, whatever the request; others go on", async () => {
    const { url, channels } = await serve();
    await expect(dial(url.replace("wss:", "ws:"))).rejects.toMatchObject({ code: "TLS_REQUIRED", retryable: false });
    const answer = await fetch(url.replace("wss:", "http:"));
    expect([answer.status, await answer.json()]).toMatchObject([400, { error: { code: "TLS_REQUIRED" } }]);
    const channel = await dial(withPin(url, pin));
    closing.push(() => channel.destroy());
    await until(() => channels.length === 1);
  });

  test("bytes that only begin like TLS are hung up on, and others go on", async () => {
    const { url, channels } = await serve();
    for (const bytes of ["16", "160301", `16030100f4${"00".repeat(300)}`, `160303ffff${"16".repeat(70_000)}`]) {
      const socket = connect(Number(new URL(url).port), "127.0.0.1");
      const ended = new Promise((resolve) => socket.on("close", resolve));
      socket.on("error", () => {}); // "close" follows
      socket.resume();
      socket.end(Buffer.from(bytes, "hex"));
      await ended;
    }
    const channel = await dial(withPin(url, pin));
    closing.push(() => channel.destroy());
    await until(() => channels.length === 1);
  });

  test("TLS to a port of plain text is TLS_NOT_SPOKEN", async () => {
    const { url } = await serve({});
    await expect(dial(withPin(url.replace("ws:", "wss:"), pin))).rejects.toMatchObject({
      code: "TLS_NOT_SPOKEN",
      retryable: false,
    });
  });

  test("nobody there is UNREACHABLE; one who hangs up in the handshake too", async () => {
    await expect(dial(withPin("wss://127.0.0.1:1", pin))).rejects.toMatchObject({
      code: "UNREACHABLE",
      retryable: true,
    });
    const { port } = await fake(createServer((socket) => socket.once("data", () => socket.destroy())));
    await expect(dial(withPin(`wss://127.0.0.1:${port}`, pin))).rejects.toMatchObject({ code: "UNREACHABLE" });
  });

  test("one who never answers is TIMEOUT; an abort is CANCELLED; the connection is closed", async () => {
    const server = createServer((socket) => socket.resume());
    const { port } = await fake(server);
    const url = withPin(`wss://127.0.0.1:${port}`, pin);
    await expect(dial(url, 100)).rejects.toMatchObject({ code: "TIMEOUT", retryable: true });
    const stop = new AbortController();
    const dialed = dialTransport().dial(url, { signal: stop.signal });
    stop.abort();
    await expect(dialed).rejects.toMatchObject({ code: "CANCELLED" });
    const open = (): Promise<number> => new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
    await expect.poll(open).toBe(0);
  });

  test("a wrong token is refused as over plain text, after a second", async () => {
    const clock = new SimulatedClock();
    const { url } = await serve({ tls: certificate, clock });
    const dialed = dialTransport().dial(withPin(url, pin), { token: "wrong" });
    const refused = expect(dialed).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    await until(() => clock.nextAtMs() === FAILED_TRY_DELAY_MS);
    clock.advance(FAILED_TRY_DELAY_MS);
    await refused;
  });

  test("a connection that says nothing is closed when the handshake's time is over, and at the end", async () => {
    const clock = new SimulatedClock();
    const { url, close } = await serve({ tls: certificate, clock });
    const port = Number(new URL(url).port);
    const silent = async (): Promise<{ closed: boolean }> => {
      const state = { closed: false };
      const socket = connect(port, "127.0.0.1");
      socket.on("close", () => {
        state.closed = true;
      });
      closing.push(() => socket.destroy());
      await new Promise((resolve) => socket.once("connect", resolve));
      await until(() => clock.nextAtMs() !== undefined);
      return state;
    };
    const first = await silent();
    clock.advance(HANDSHAKE_TIMEOUT_MS);
    await until(() => first.closed);
    const second = await silent();
    await close();
    await until(() => second.closed);
  });
});

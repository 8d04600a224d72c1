import { describe, expect, test } from "vitest";
import {
  FAILED_TRIES_ADDRESSES,
  FAILED_TRIES_LIMIT,
  FAILED_TRIES_WINDOW_MS,
  FailedTries,
} from "../src/failed-tries.ts";
import { bearerToken, MAX_URL_BYTES, refusal } from "../src/http-guard.ts";

const rules = { allowedHosts: ["head.example"], allowedOrigins: ["https://page.example"] };
const check = (headers: Record<string, string>, url = "/"): string | undefined =>
  refusal({ url, headers: { host: "localhost:8265", ...headers } }, rules)?.code;

describe("the guard of every request", () => {
  test.each([
    "localhost",
    "localhost:8265",
    "127.0.0.1:8265",
    "[::1]:8265",
    "10.0.0.3",
    "head.example:1",
    "HEAD.example",
  ])("Host %s may be asked", (host) => {
    expect(check({ host })).toBeUndefined();
  });

  test.each([
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "",
    "a b",
    "head.example:1:2",
    "[::1",
    "user@localhost",
    "localhost/x",
  ])("Host %j is refused (B32)", (host) => {
    expect(check({ host })).toBe("HOST");
  });

  test("a request without Host is refused", () => {
    expect(refusal({ url: "/", headers: {} }, rules)?.code).toBe("HOST");
  });

  test("an Origin must be listed, whatever else the request says (B32)", () => {
    expect(check({ origin: "https://page.example" })).toBeUndefined();
    expect(check({ origin: "https://page.example", "sec-fetch-site": "cross-site" })).toBeUndefined();
    for (const origin of ["http://page.example", "https://page.example.evil", "null", "", "http://localhost:8265"]) {
      expect(check({ origin })).toBe("ORIGIN");
    }
  });

  test("without Origin, only pages of this very origin and typed addresses pass (B32)", () => {
    expect(check({ "sec-fetch-site": "none" })).toBeUndefined();
    expect(check({ "sec-fetch-site": "same-origin" })).toBeUndefined();
    for (const site of ["cross-site", "same-site", "", "other"])
      expect(check({ "sec-fetch-site": site })).toBe("ORIGIN");
  });

  test("a URL above the limit is 414 (B13)", () => {
    expect(check({}, "/".padEnd(MAX_URL_BYTES, "x"))).toBeUndefined();
    expect(refusal({ url: "/".padEnd(MAX_URL_BYTES + 1, "x"), headers: {} }, rules)).toMatchObject({ status: 414 });
  });

  test("a bearer token is taken out of its header", () => {
    expect(bearerToken("Bearer abc.def")).toBe("abc.def");
    expect(bearerToken("bearer abc")).toBe("abc");
    for (const header of [undefined, "", "abc", "Basic abc", "Bearer ", "Bearer a b", `Bearer ${"x".repeat(1_025)}`]) {
      expect(bearerToken(header)).toBe("");
    }
  });
});

describe("failed tries (B5)", () => {
  test("ten a minute and address, then no more until the minute is over", () => {
    const tries = new FailedTries();
    for (let i = 0; i < FAILED_TRIES_LIMIT; i++) expect(tries.note("10.0.0.1", i)).toBe(true);
    expect(tries.note("10.0.0.1", FAILED_TRIES_WINDOW_MS - 1)).toBe(false);
    expect(tries.note("10.0.0.2", FAILED_TRIES_WINDOW_MS - 1)).toBe(true);
    expect(tries.note("10.0.0.1", FAILED_TRIES_WINDOW_MS)).toBe(true);
  });

  test("only so many addresses are remembered, the oldest goes first", () => {
    const tries = new FailedTries();
    for (let i = 0; i <= FAILED_TRIES_LIMIT; i++) tries.note("first", 0);
    expect(tries.note("first", 1)).toBe(false);
    for (let i = 0; i < FAILED_TRIES_ADDRESSES; i++) tries.note(`other${i}`, 2);
    expect(tries.note("first", 3)).toBe(true);
  });
});

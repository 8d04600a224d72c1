import { describe, expect, test } from "vitest";
import { newClusterSecret, ROLES, roleToken, tokenDigest, tokenMatches } from "../src/index.ts";

describe("tokens", () => {
  test("a secret has 256 random bits", () => {
    const secrets = new Set(Array.from({ length: 100 }, newClusterSecret));
    expect(secrets.size).toBe(100);
    for (const secret of secrets) expect(secret).toMatch(/^[0-9a-f]{64}$/);
  });

  test("every role has its own token, the same each time, and another one in another cluster", () => {
    const secret = newClusterSecret();
    const tokens = ROLES.map((role) => roleToken(secret, role));
    expect(new Set(tokens).size).toBe(ROLES.length);
    expect(ROLES.map((role) => roleToken(secret, role))).toEqual(tokens);
    expect(roleToken(newClusterSecret(), "raylet")).not.toBe(tokens[1]);
    for (const token of tokens) expect(token).not.toContain(secret);
  });

  test("known values, so that other languages can compare", () => {
    const secret = "00".repeat(32);
    expect(roleToken(secret, "engine")).toBe("5590bd60a7277caa4db0788f384b61c6dc5eb109a29556335b07b883e4db76d1");
    expect(tokenDigest("whipray")).toBe("bd083fa9c84eb5dcfa10fe5d4c917242641b4d6f68bc67c6ad4914748b3a2f10");
  });

  test("a token matches its own digest and nothing else (B5)", () => {
    const token = roleToken(newClusterSecret(), "driver");
    expect(tokenMatches(token, tokenDigest(token))).toBe(true);
    for (const wrong of ["", token.slice(1), `${token}0`, token.toUpperCase(), "x".repeat(100_000), "\u0000", "ü"]) {
      expect(tokenMatches(wrong, tokenDigest(token))).toBe(false);
    }
    for (const digest of ["", "zz", tokenDigest(token).slice(2), `${tokenDigest(token)}00`]) {
      expect(tokenMatches(token, digest)).toBe(false);
    }
  });
});

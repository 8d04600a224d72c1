import { expect, test } from "vitest";
import { IDLE_PACKAGES_LIMIT_BYTES, KeepCache } from "../src/keep-cache.ts";
import { IDLE_VENVS_LIMIT } from "../src/venvs.ts";

/** Made and left, one after the other. */
function idle(cache: KeepCache, names: readonly string[], weight: number): string[] {
  return names.flatMap((name) => {
    if (cache.use(name)) cache.made(name, weight);
    return cache.leave(name);
  });
}

test("idle virtual environments above IDLE_VENVS_LIMIT go, the longest unused first", () => {
  const cache = new KeepCache(IDLE_VENVS_LIMIT);
  const names = Array.from({ length: IDLE_VENVS_LIMIT }, (_, n) => `v${n}`);
  expect(idle(cache, names, 1)).toEqual([]);
  expect(idle(cache, ["v0", "more"], 1)).toEqual(["v1"]);
});

test("idle packages above IDLE_PACKAGES_LIMIT_BYTES go; what is in use, or being made, never does", () => {
  const cache = new KeepCache(IDLE_PACKAGES_LIMIT_BYTES);
  const half = IDLE_PACKAGES_LIMIT_BYTES / 2;
  expect(cache.use("making")).toBe(true);
  expect(cache.leave("making")).toEqual([]);
  expect(cache.use("used")).toBe(true);
  cache.made("used", half);
  expect(idle(cache, ["a", "b"], half)).toEqual([]);
  expect(idle(cache, ["c"], 1)).toEqual(["a"]);
  expect(cache.use("making")).toBe(false);
  cache.failed("making");
  expect(cache.use("making")).toBe(true);
  expect(cache.leave("unknown")).toEqual([]);
});

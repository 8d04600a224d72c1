import { WhiprayError } from "@whipray/core";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { decodeControl, encodeControl, MAX_BODY_BYTES, MAX_DEPTH, scan } from "../src/index.ts";
import { codeOf } from "./frames.ts";

const STRICT = { keys: "strict", extensions: "ours" } as const;
const LOOSE = { keys: "loose", extensions: "ours" } as const;
const strict = (bytes: Uint8Array): string | undefined => codeOf(() => scan(bytes, STRICT));
const loose = (bytes: Uint8Array): string | undefined => codeOf(() => scan(bytes, LOOSE));
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
const msgpackr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true });
const pack = (value: unknown): Uint8Array => new Uint8Array(msgpackr.pack(value));
/** A map of one pair whose key is this text. */
const keyed = (key: string): Uint8Array =>
  hex(`81${(0xa0 | key.length).toString(16)}${Buffer.from(key).toString("hex")}01`);

describe("decoder facts", () => {
  test.each([
    ["array32 of 33 554 431, no data (B6)", "dd 01ffffff", "DECODE_LENGTH"],
    ["map32, no data (B6)", "df ffffffff", "DECODE_LENGTH"],
    ["bin32, no data (B6)", "c6 ffffffff 00", "DECODE_LENGTH"],
    ["str32, no data (B6)", "db ffffffff 61", "DECODE_LENGTH"],
    ["ext32, no data (B6)", "c9 ffffffff 01", "DECODE_LENGTH"],
    ["array16 with too few", "dc 0003 0101", "DECODE_LENGTH"],
    ["a map with a key only", "81 a161", "DECODE_LENGTH"],
    ["nothing", "", "DECODE_LENGTH"],
    ["a length that is cut", "dd 0000", "DECODE_LENGTH"],
    ["a number that is cut", "cb 0000", "DECODE_LENGTH"],
    ["0xC1 (B10)", "c1", "DECODE_BYTE"],
    ["0xC1 inside (B10)", "92 01 c1", "DECODE_BYTE"],
    ["timestamp extension −1 (B10)", "d6 ff 00000000", "DECODE_EXT"],
    ["msgpackr's record 0x72 (B10)", "d4 72 40", "DECODE_EXT"],
    ["msgpackr's extension 0x70 (B10)", "c7 04 70 00000000", "DECODE_EXT"],
    ["extension 0", "d4 00 00", "DECODE_EXT"],
    ["extension 5", "d4 05 c0", "DECODE_EXT"],
    ["an extension in an extension", "c7 04 01 91 d4 01 c0", "DECODE_EXT"],
    ["a value that ends behind its extension", "c7 03 01 92 01 c0 c0", "DECODE_TRAILING"],
    ["a value that would go on behind its extension", "d5 01 92 01 c0", "DECODE_LENGTH"],
    ["trailing bytes (B10)", "01 02", "DECODE_TRAILING"],
    ["trailing bytes in an extension", "d5 01 90 c0", "DECODE_TRAILING"],
    ["an extension without data", "c7 00 01", "DECODE_LENGTH"],
    ["UTF-8: lone continuation (B10)", "a1 80", "DECODE_UTF8"],
    ["UTF-8: overlong slash", "a2 c0af", "DECODE_UTF8"],
    ["UTF-8: overlong, three bytes", "a3 e08080", "DECODE_UTF8"],
    ["UTF-8: surrogate D800 (B10)", "a3 eda080", "DECODE_UTF8"],
    ["UTF-8: above 10FFFF", "a4 f4908080", "DECODE_UTF8"],
    ["UTF-8: cut", "a2 e282", "DECODE_UTF8"],
    ["UTF-8: in a long text", `d9 40 ${"61".repeat(63)}ff`, "DECODE_UTF8"],
    ["key __proto__ (B8)", Buffer.from(keyed("__proto__")).toString("hex"), "DECODE_KEY"],
    ["a map as key", "81 80 01", "DECODE_KEY"],
    ["an array as key", "81 91 a9 5f5f70726f746f5f5f 01", "DECODE_KEY"],
    ["bytes as key", "81 c4 01 61 01", "DECODE_KEY"],
    ["an extension as key", "81 d4 01 c0 01", "DECODE_KEY"],
    ["a number as key (B9)", "81 01 01", "DECODE_KEY"],
    ["nil as key (B9)", "81 c0 01", "DECODE_KEY"],
    ["a float as key (B9)", "81 cb 0000000000000000 01", "DECODE_KEY"],
  ])("%s is refused in both modes", (_name, bytes, code) => {
    expect([strict(hex(bytes)), loose(hex(bytes))]).toEqual([code, code]);
  });

  test.each([
    ["key constructor (B8)", Buffer.from(keyed("constructor")).toString("hex")],
    ["key prototype (B8)", Buffer.from(keyed("prototype")).toString("hex")],
    ["duplicate keys (B9)", "82 a161 01 a161 02"],
    ["a duplicate that is written longer (B9)", "82 a161 01 d90161 02"],
  ])("%s is refused in headers and control bodies only", (_name, bytes) => {
    expect([strict(hex(bytes)), loose(hex(bytes))]).toEqual(["DECODE_KEY", undefined]);
  });

  test("nesting: the limit passes, one more does not, a million costs nothing (B7)", () => {
    const nested = (depth: number, byte = 0x91): Uint8Array => new Uint8Array(depth + 1).fill(byte, 0, depth);
    expect(loose(nested(MAX_DEPTH))).toBeUndefined();
    expect(loose(nested(MAX_DEPTH + 1))).toBe("DECODE_DEPTH");
    expect(strict(nested(20_000))).toBe("DECODE_DEPTH");
    expect(loose(nested(1_000_000))).toBe("DECODE_DEPTH");
    expect(loose(nested(1_000_000, 0x81))).toBe("DECODE_KEY");
  });

  test("an extension at the deepest place may have its own two levels, and no third", () => {
    const outer = "91".repeat(MAX_DEPTH);
    expect(loose(hex(`${outer} c7 07 01 93 a2 6634 91 02 01`))).toBeUndefined();
    expect(loose(hex(`${outer} d6 01 91 91 91 01`))).toBe("DECODE_DEPTH");
    expect(loose(hex("d6 01 91 91 91 01"))).toBe("DECODE_DEPTH");
  });

  test.each([0, 1, MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH])("an extension in one at depth %d is refused", (depth) => {
    expect(loose(hex(`${"91".repeat(depth)} d6 01 91 d4 01 c0`))).toBe("DECODE_EXT");
  });

  test("a value above MAX_BODY_BYTES is refused unread", () => {
    expect(loose(new Uint8Array(MAX_BODY_BYTES + 1))).toBe("DECODE_LENGTH");
  });

  test("10 000 values that announce gigabytes cost a few megabytes of errors (B6)", () => {
    const announced = [
      "dd 01ffffff",
      "dd ffffffff",
      "df ffffffff",
      "c6 ffffffff 00",
      "db ffffffff 61",
      "c9 ffffffff 01",
    ];
    const values = announced.map(hex);
    const used = (): number => {
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const before = used();
    let most = 0;
    for (let i = 0; i < 10_000; i++) {
      const value = values[i % values.length]!;
      expect(codeOf(() => decodeControl(value))).toBe("DECODE_LENGTH");
      if (i % 500 === 0) most = Math.max(most, used() - before);
    }
    // The smallest of these announcements would take 256 MiB the first time that it is believed.
    expect(most).toBeLessThan(128 * 1024 * 1024);
  });

  test("errors say where", () => {
    expect.assertions(1);
    try {
      scan(hex("93 01 a161 c1"), STRICT);
    } catch (error) {
      expect((error as WhiprayError).details).toEqual({ offset: 4 });
    }
  });
});

describe("duplicate keys", () => {
  test.each([3, 16, 17, 1_000])("are found among %d keys, and equal keys of other maps are none", (count) => {
    const keys = Array.from({ length: count }, (_, index) => `k${String(index).padStart(4, "0")}`);
    const bytes = pack(Object.fromEntries(keys.map((key) => [key, { k0000: 1, k0001: { k0000: 2 } }])));
    expect(strict(bytes)).toBeUndefined();
    bytes.set(Buffer.from("k0000"), Buffer.from(bytes).lastIndexOf(keys.at(-1)!));
    expect(strict(bytes)).toBe("DECODE_KEY");
  });

  test("a map of 100 000 keys is checked in linear time and forgotten afterwards", () => {
    const bytes = encodeControl(Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key${i}`, i])));
    expect(strict(bytes)).toBeUndefined();
    expect(strict(bytes)).toBeUndefined();
  });
});

describe("properties", () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 5 },
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.string({ unit: "grapheme" }),
      fc.uint8Array(),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
      fc.array(tie("any")),
      fc.dictionary(
        fc.string({ maxLength: 12 }).filter((key) => !["__proto__", "constructor", "prototype"].includes(key)),
        tie("any"),
      ),
    ),
  })).any;

  test("accepts what msgpackr and our encoder write", () => {
    fc.assert(
      fc.property(value, (one) => {
        scan(pack(one), STRICT);
        scan(encodeControl(one), STRICT);
      }),
    );
  });

  test("every proper beginning of a value is refused as too short", () => {
    fc.assert(
      fc.property(value, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (one, part) => {
        const bytes = encodeControl(one);
        expect(strict(bytes.subarray(0, Math.floor(bytes.length * part)))).toBe("DECODE_LENGTH");
      }),
    );
  });

  test("random bytes and mutations give an answer or a WhiprayError, nothing else; what passes is decoded by msgpackr", () => {
    const mutated = fc
      .tuple(value, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }))
      .map(([one, changes]) => {
        const bytes = pack(one);
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        for (const options of [STRICT, LOOSE]) {
          try {
            scan(bytes, options);
          } catch (error) {
            expect(error).toBeInstanceOf(WhiprayError);
            expect((error as WhiprayError).code).toMatch(/^DECODE_/);
            continue;
          }
          if (options === STRICT && !bytes.some((byte) => byte >= 0xc7 && byte <= 0xd8)) msgpackr.unpack(bytes);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

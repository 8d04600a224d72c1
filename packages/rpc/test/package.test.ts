import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  encodeControl,
  type Member,
  openPackage,
  PACKAGE_FILES_LIMIT,
  PACKAGE_LIMIT_BYTES,
  packMembers,
  UNPACKED_LIMIT_BYTES,
} from "../src/index.ts";

const member = (path: string, text = "", executable = false): Member => ({
  path,
  content: Buffer.from(text),
  executable,
});
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** A package as an attacker would write it. */
function forged(table: unknown, content = ""): { hash: string; bytes: Uint8Array } {
  const encoded = encodeControl(table);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(encoded.length);
  const plain = Buffer.concat([length, encoded, Buffer.from(content)]);
  return { hash: hashOf(plain), bytes: gzipSync(plain) };
}

describe("packages", () => {
  test("members come out as they went in; the same files have the same hash, in whatever order", async () => {
    const members = [member("b/run.sh", "#!/bin/sh", true), member("a.mjs", "export {}"), member("b/empty")];
    const packed = await packMembers(members);
    expect((await packMembers(members.toReversed())).hash).toBe(packed.hash);
    expect((await packMembers([...members, member("c")])).hash).not.toBe(packed.hash);
    const opened = await openPackage(packed);
    expect(opened.map(({ path, executable }) => [path, executable])).toEqual([
      ["a.mjs", false],
      ["b/empty", false],
      ["b/run.sh", true],
    ]);
    expect(Buffer.from(opened[2]!.content).toString()).toBe("#!/bin/sh");
  });

  const long = "x".repeat(256);
  const names = [
    "../x",
    "a/../../x",
    "/etc/x",
    "C:\\x",
    "C:x",
    "a\\b",
    "a//b",
    "./a",
    "",
    "a\0b",
    "a\nb",
    long,
    "a/".repeat(600),
  ];
  for (const path of names) {
    test(`B29: a member ${JSON.stringify(path.slice(0, 20))} is UNSAFE_ARCHIVE, packed and unpacked`, async () => {
      await expect(packMembers([member(path)])).rejects.toMatchObject({ code: "UNSAFE_ARCHIVE" });
      const bad = forged([{ path, bytes: 0, executable: false }]);
      await expect(openPackage(bad)).rejects.toMatchObject({ code: "UNSAFE_ARCHIVE" });
    });
  }

  test("B29: names that are one file where case does not count, and files that are folders too, are named", async () => {
    for (const [a, b] of [
      ["Readme", "README"],
      ["a", "a"],
      ["a", "a/b"],
      ["A/b", "a"],
      ["\u00e9", "e\u0301"],
    ] as const) {
      const rows = [a, b].map((path) => ({ path, bytes: 0, executable: false }));
      const failed = await openPackage(forged(rows)).catch((error: unknown) => error);
      expect(failed).toMatchObject({ code: "UNSAFE_ARCHIVE", details: { member: expect.any(String) } });
    }
  });

  test("B29: a bomb, too many files, damage, another hash, a table that lies: nothing comes out", async () => {
    const zeros = Buffer.alloc(UNPACKED_LIMIT_BYTES + 2 ** 24 + 1);
    await expect(openPackage({ hash: hashOf(zeros), bytes: gzipSync(zeros) })).rejects.toMatchObject({
      code: "UNSAFE_ARCHIVE",
      message: expect.stringContaining("when unpacked"),
    });
    const many = Array.from({ length: PACKAGE_FILES_LIMIT + 1 }, (_, n) => ({
      path: `${n}`,
      bytes: 0,
      executable: false,
    }));
    const packed = await packMembers([member("a", "text")]);
    const lies = [
      forged(many),
      forged([{ path: "a", bytes: 5, executable: false }], "1234"),
      forged([{ path: "a", bytes: 3, executable: false }], "1234"),
      forged([{ path: "a", bytes: -1, executable: false }]),
      forged("no table"),
      { hash: packed.hash, bytes: packed.bytes.subarray(0, 20) },
      { hash: "0".repeat(64), bytes: packed.bytes },
      { hash: packed.hash, bytes: gzipSync(Buffer.from([0, 0])) },
    ];
    for (const lie of lies) await expect(openPackage(lie)).rejects.toMatchObject({ code: "UNSAFE_ARCHIVE" });
  });

  test("too many files or bytes are PACKAGE_TOO_LARGE with number and limit, and no package above the limit is opened", async () => {
    const many = Array.from({ length: PACKAGE_FILES_LIMIT + 1 }, (_, n) => member(`${n}`));
    const details = { found: PACKAGE_FILES_LIMIT + 1, limit: PACKAGE_FILES_LIMIT };
    await expect(packMembers(many)).rejects.toMatchObject({ code: "PACKAGE_TOO_LARGE", details });
    const big = { ...member("big"), content: Buffer.alloc(UNPACKED_LIMIT_BYTES + 1) };
    await expect(packMembers([big])).rejects.toMatchObject({ code: "PACKAGE_TOO_LARGE" });
    const bytes = Buffer.alloc(PACKAGE_LIMIT_BYTES + 1);
    await expect(openPackage({ hash: hashOf(bytes), bytes })).rejects.toMatchObject({ code: "UNSAFE_ARCHIVE" });
  });
});

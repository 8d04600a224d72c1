import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { fileError } from "../src/file-error.ts";
import { runMain } from "../src/run-main.io.ts";

const folder = mkdtempSync(join(tmpdir(), "wp-"));
const long = join(folder, "x".repeat(120));
let written: string[] = [];

beforeEach(() => {
  written = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(String(text)) > 0);
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(() => void vi.restoreAllMocks());
afterAll(() => rmSync(folder, { recursive: true }));

async function errorOf(args: string[], env: Record<string, string>): Promise<{ code: string; message: string }> {
  expect(await runMain([...args, "--json"], { PATH: process.env["PATH"]!, ...env })).not.toBe(0);
  expect(written).toHaveLength(1);
  return JSON.parse(written[0]!).error;
}

test("a home in which nothing can be made: the path, why, and what names another folder", async () => {
  const home = join(folder, "file");
  writeFileSync(home, "");
  for (const command of [["start", "--head", "--port", "0"], ["stop"]]) {
    written = [];
    const error = await errorOf(command, { HOME: home });
    expect(error).toMatchObject({ code: "FILE_FAILED", details: { errno: "ENOTDIR" } });
    expect(error.message).toContain(home);
    expect(error.message).toContain("a part of it is a file, and no folder");
    expect(error.message).toContain("WHIPRAY_RUNTIME_DIR");
  }
});

test("each refusal of a file system has words; other errors are left alone", () => {
  const refused = Object.assign(new Error("x"), { syscall: "open", path: "/a" });
  for (const [code, words] of Object.entries({
    ENOSPC: "disk is full",
    EROFS: "read-only",
    EACCES: "may not",
    EIO: "it failed (EIO)",
  }))
    expect(fileError(Object.assign(refused, { code }))?.message).toMatch(
      new RegExp(`^/a .*${words.replace(/[()]/g, ".")}`),
    );
  expect(fileError(new Error("x"))).toBeUndefined();
});

test("a home that is relative or empty is refused: with the next cd it would be another one", async () => {
  for (const home of ["relative", ""]) {
    written = [];
    expect(await errorOf(["status"], { HOME: home })).toMatchObject({
      code: "USAGE",
      message: expect.stringContaining("HOME"),
    });
  }
});

test("paths that are too long for sockets are refused before anything is made, with what to set", async () => {
  const start = ["start", "--head", "--port", "0"];
  const home = { HOME: join(folder, "home") };
  const runtime = await errorOf(start, { ...home, WHIPRAY_RUNTIME_DIR: long });
  expect(runtime).toMatchObject({
    code: "SOCKET_PATH_TOO_LONG",
    message: expect.stringContaining("WHIPRAY_RUNTIME_DIR"),
  });
  written = [];
  const state = await errorOf(start, { ...home, WHIPRAY_STATE_DIR: long });
  expect(state).toMatchObject({ code: "SOCKET_PATH_TOO_LONG", message: expect.stringContaining("WHIPRAY_STATE_DIR") });
  written = [];
  expect(await errorOf([...start, "--directory", long], home)).toMatchObject({ code: "SOCKET_PATH_TOO_LONG" });
  expect(readdirSync(folder)).not.toContain("home");
});

test("doctor names folders in which daemons could not work", async () => {
  await runMain(["doctor", "--json"], {
    PATH: process.env["PATH"]!,
    HOME: join(folder, "home"),
    WHIPRAY_STATE_DIR: long,
  });
  const { limits, problems } = JSON.parse(written.join(""));
  expect(limits.find(({ name }: { name: string }) => name === "state folder").short).toContain("WHIPRAY_STATE_DIR");
  expect(problems.join("\n")).toContain("state folder: the socket in");
});

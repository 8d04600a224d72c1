import { systemClock } from "@whipray/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { LogFiles } from "../src/log-files.io.ts";
import { type LogWriter, lastLineBytes } from "../src/logs.ts";
import { MemoryLogs } from "../src/memory-logs.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const makers: [string, () => LogWriter][] = [
  ["a file", () => new LogFiles({ directory: temporaryFolder(), clock: systemClock }).open("worker_a")],
  ["its memory twin", () => new MemoryLogs().open("worker_a")],
];

async function followed(log: LogWriter, lines: number) {
  const seen = { text: "", closed: false };
  const stop = await log.follow(lines, (data) => {
    if (data) seen.text += Buffer.from(data).toString();
    else seen.closed = true;
  });
  return { seen, stop };
}

test.each(makers)(
  "%s: who follows sees the last lines and all that comes, without a gap or a repetition",
  async (_, make) => {
    const log = make();
    let expected = "";
    const write = (line: number): void => {
      log.write(line % 3 === 0 ? "err" : "out", Buffer.from(`line ${line}\n`));
      expected += `line ${line}\n`;
    };
    for (let line = 0; line < 100; line++) write(line);
    const followers = [];
    for (let line = 100; line < 400; line++) {
      write(line);
      if (line % 50 === 0) followers.push(followed(log, 100_000));
      if (line % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { seen } of await Promise.all(followers)) {
      await until("the last line", () => seen.text.endsWith("line 399\n"));
      expect(seen.text).toBe(expected);
    }
    const { seen, stop } = await followed(log, 2);
    expect(seen.text).toBe("line 398\nline 399\n");
    stop();
    await log.close();
    expect(seen.closed).toBe(false);
  },
);

test.each(makers)("%s: following a closed log shows its end and ends cleanly (B30)", async (_, make) => {
  const log = make();
  log.write("err", Buffer.from("one\ntwo"));
  const early = await followed(log, 10);
  await log.close();
  expect(early.seen).toEqual({ text: "one\ntwo", closed: true });
  expect((await followed(log, 1)).seen).toEqual({ text: "two", closed: true });
});

test("the last lines of bytes are those of the text", () => {
  const pieces = fc.array(fc.constantFrom("a", "bc", "\n"), { maxLength: 12 });
  fc.assert(
    fc.property(pieces, fc.nat(6), (parts, lines) => {
      const text = parts.join("");
      const all = text.split(/(?<=\n)/).filter((line) => line !== "");
      const expected = lines === 0 ? "" : all.slice(-lines).join("");
      expect(Buffer.from(lastLineBytes(Buffer.from(text), lines)).toString()).toBe(expected);
    }),
  );
});

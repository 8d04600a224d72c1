import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SimulatedClock, systemClock } from "@whipray/core";
import { describe, expect, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { LINE_HELD_LIMIT_BYTES, LineMerger } from "../src/line-merger.ts";
import { LogFiles } from "../src/log-files.io.ts";
import {
  LOG_PENDING_LIMIT_BYTES,
  type LogWriter,
  lastLines,
  logFileName,
  TAIL_LINE_LIMIT,
  TAIL_LINES,
} from "../src/logs.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

function logs(more = {}) {
  const directory = temporaryFolder();
  return { directory, files: new LogFiles({ directory, clock: systemClock, ...more }) };
}

describe("log files", () => {
  test("both streams share a file without cutting each other's lines", async () => {
    const { files } = logs();
    const log = files.open("worker_a");
    for (const [stream, text] of [
      ["out", "one "],
      ["err", "ERR 1\nERR"],
      ["out", "two\nthree\nfo"],
      ["err", " 2\n"],
    ] as const) {
      log.write(stream, Buffer.from(text));
    }
    await log.close();
    expect(readFileSync(log.path, "utf8")).toBe("ERR 1\none two\nthree\nERR 2\nfo");
  });

  test("are rotated by size, as many as allowed, and no line is lost meanwhile (P18)", async () => {
    const { directory, files } = logs({ fileLimitBytes: 1_000, filesLimit: 3 });
    const log = files.open("worker_a");
    for (let line = 0; line < 300; line++) {
      log.write("out", Buffer.from(`line ${String(line).padStart(4, "0")}\n`));
      await log.drained();
      if (line % 10 === 9) await log.tail(1);
    }
    await log.close();
    expect(readdirSync(directory).sort()).toEqual(["worker_a.log", "worker_a.log.1", "worker_a.log.2"]);
    const text = ["worker_a.log.2", "worker_a.log.1", "worker_a.log"]
      .map((name) => readFileSync(join(directory, name), "utf8"))
      .join("");
    const numbers = text
      .trim()
      .split("\n")
      .map((line) => Number(line.slice(5)));
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, at) => 300 - numbers.length + at));
    for (const name of readdirSync(directory)) expect(statSync(join(directory, name)).size).toBeLessThanOrEqual(1_000);
  });

  test("the tail of a process is in memory for errors: stderr, else stdout, 100 lines, each cut", async () => {
    const { files } = logs();
    const log = files.open("worker_a");
    log.write("out", Buffer.from("only out\n"));
    expect(log.errorTail()).toEqual(["only out"]);
    log.write("err", Buffer.from(`${"x".repeat(5_000)}\n`));
    for (let line = 0; line < 99; line++) log.write("err", Buffer.from(`e${line}\n`));
    expect(log.errorTail().length).toBe(TAIL_LINES);
    expect(log.errorTail()[0]?.length).toBe(TAIL_LINE_LIMIT);
    expect(log.errorTail().at(-1)).toBe("e98");
    await log.close();
    expect(log.errorTail()).toEqual([]);
  });

  test("the tail of the file is asked for in lines, also after the close, also over a rotation", async () => {
    const { files } = logs({ fileLimitBytes: 60 });
    const log = files.open("worker_a");
    for (let line = 0; line < 10; line++) {
      log.write("out", Buffer.from(`line number ${line}\n`));
      await log.tail(1);
    }
    await log.close();
    expect(await log.tail(4)).toEqual([6, 7, 8, 9].map((line) => `line number ${line}`));
    expect(await log.tail(0)).toEqual([]);
  });

  test("a prompt without a newline reaches the file after a moment", async () => {
    const clock = new SimulatedClock();
    const { files } = logs({ clock });
    const log = files.open("worker_a");
    log.write("out", Buffer.from("(Pdb) "));
    expect(existsSync(log.path)).toBe(false);
    clock.advance(100);
    await until("the prompt is written", () => existsSync(log.path) && readFileSync(log.path, "utf8") === "(Pdb) ");
    await log.close();
  });

  test("a process that never prints has a log file: its errors name it", async () => {
    const { files } = logs();
    const log = files.open("engine_silent");
    await until("the file is there", () => existsSync(log.path));
    await log.close();
    expect(readFileSync(log.path, "utf8")).toBe("");
    expect(statSync(log.path).mode & 0o777).toBe(0o600);
  });

  test("two live logs of one name do not share a file", async () => {
    const { files } = logs();
    const [first, second] = [files.open("a"), files.open("a")];
    expect(second.path).not.toBe(first.path);
    await Promise.all([first.close(), second.close()]);
    const third = files.open("a");
    expect(third.path).toBe(first.path);
    await third.close();
  });

  test.each([
    ["../../etc/passwd", "etc-passwd.log"],
    ["rollout/0", "rollout-0.log"],
    ["", "unnamed.log"],
    ["..", "unnamed.log"],
    ["a\0b\n", "a-b-.log"],
    ["é".repeat(300), "unnamed.log"],
  ])("B24 %j is the file %s", (name, file) => {
    expect(logFileName(name)).toBe(file);
  });

  test("F38 what cannot be written is counted, told in the log, and does not stop anybody", async () => {
    const { directory, files } = logs();
    rmSync(directory, { recursive: true });
    writeFileSync(directory, "a file where the folder should be");
    const log = files.open("worker_a");
    log.write("out", Buffer.from("lost\n"));
    await until("the loss is counted", () => log.lostBytes === 5);
    rmSync(directory);
    log.write("out", Buffer.from("kept\n"));
    await log.close();
    expect(readFileSync(log.path, "utf8")).toBe("[whipray: 5 bytes of this log were lost]\nkept\n");
  });

  test("a full log says so, and says when it has room again", async () => {
    const { files } = logs();
    const log = files.open("worker_a");
    expect(log.write("out", Buffer.alloc(LOG_PENDING_LIMIT_BYTES, "x\n"))).toBe(false);
    await log.drained();
    expect(log.write("out", Buffer.from("y\n"))).toBe(true);
    await log.close();
    expect(statSync(log.path).size).toBe(LOG_PENDING_LIMIT_BYTES + 2);
  });

  test("F28 200 MB of output pass through without growing memory, nothing is lost, and lines stay whole", async () => {
    const { files } = logs({ fileLimitBytes: 2 ** 40 });
    const log = files.open("worker_a");
    const script = (megabytes: number) => `
      const line = Buffer.from("x".repeat(99) + "\\n");
      const block = Buffer.concat(Array(10_000).fill(line));
      let blocks = 0;
      (function next() { if (blocks++ < ${megabytes}) process.stdout.write(block, next); })();`;
    const processes = new ChildProcesses(systemClock);
    const specOf = (megabytes: number, log: LogWriter) => {
      return { command: process.execPath, args: ["-e", script(megabytes)], env: {}, cwd: "/", log };
    };
    // What the runtime itself takes for its first pipes is not what this is about.
    const first = files.open("worker_first");
    await (await processes.spawn(specOf(40, first))).exited;
    await first.close();
    const before = process.memoryUsage.rss();
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
    }, 20);
    const child = await processes.spawn(specOf(200, log));
    expect(await child.exited).toEqual({ code: 0, signal: null });
    clearInterval(watch);
    await log.close();
    expect(statSync(log.path).size).toBe(200_000_000);
    expect(log.lostBytes).toBe(0);
    expect(peak - before).toBeLessThan(64 * 2 ** 20);
  });
});

describe("merging two streams", () => {
  test("a line that never ends is given on in pieces", () => {
    const merger = new LineMerger();
    expect(merger.push("out", Buffer.alloc(LINE_HELD_LIMIT_BYTES - 1, "x"))).toEqual([]);
    const pieces = merger.push("out", Buffer.from("y"));
    expect(Buffer.concat(pieces).length).toBe(LINE_HELD_LIMIT_BYTES);
    expect(merger.holding).toBe(false);
  });

  test("lines with \\r\\n, and a text without a last newline", () => {
    expect(lastLines("a\r\nb\nc", 2, 10)).toEqual(["b", "c"]);
    expect(lastLines("", 2, 10)).toEqual([]);
  });
});

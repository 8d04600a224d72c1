import { resolve } from "node:path";
import { init } from "whipray";
import type { WordCounter } from "./word-counter.ts";

// A small tool that embeds a cluster: counts the words of the files it is given, on two processes, and leaves nothing behind.
const files = process.argv.slice(2).map((path) => resolve(path));
if (files.length === 0) {
  console.error("usage: word-count FILE…");
  process.exit(2);
}
await using cluster = await init({ numCpus: 2 });
const counters = await Promise.all(
  [0, 1].map(() =>
    cluster
      .actor<WordCounter>(new URL("./word-counter.ts", import.meta.url), "WordCounter")
      .options({ numCpus: 1 })
      .create(),
  ),
);
const totals = new Map<string, number>();
const counted = await Promise.all(files.map((file, index) => counters[index % counters.length]!.count(file)));
for (const words of counted)
  for (const [word, n] of Object.entries(words)) totals.set(word, (totals.get(word) ?? 0) + n);
for (const [word, n] of [...totals].sort((a, b) => b[1] - a[1]).slice(0, 10))
  console.log(`${String(n).padStart(6)}  ${word}`);

import { readFile } from "node:fs/promises";

/** Counts the words of files; one instance a CPU. */
export class WordCounter {
  async count(path: string): Promise<Record<string, number>> {
    const words: Record<string, number> = {};
    for (const [word] of (await readFile(path, "utf8")).toLowerCase().matchAll(/[a-z]{4,}/g))
      words[word] = (words[word] ?? 0) + 1;
    return words;
  }
}

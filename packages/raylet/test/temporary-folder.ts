import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder that is removed when the test is over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "wr-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Waits until `check` gives something, and gives it. Fails after `limitMs`. */
export async function until<T>(what: string, check: () => T | undefined | false, limitMs = 10_000): Promise<T> {
  const startMs = performance.now();
  for (;;) {
    const result = check();
    if (result !== undefined && result !== false) return result;
    if (performance.now() - startMs > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

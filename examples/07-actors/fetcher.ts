import { callContext } from "whipray";

/** An actor with state, slow and quick methods, and a bad day now and then. */
export class Fetcher {
  #fetched = 0;
  #tries = 0;

  async fetch(ms: number): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return ++this.#fetched;
  }
  async fetched(): Promise<number> {
    return this.#fetched;
  }
  async flaky(): Promise<string> {
    this.#tries++;
    if (this.#tries < 3) throw new RangeError(`try ${this.#tries} failed`);
    return `worked at try ${this.#tries}`;
  }
  async *pages(n: number): AsyncGenerator<string> {
    for (let page = 1; page <= n; page++) yield `page ${page}`;
  }
  /** Until its caller cancels it. */
  async watch(): Promise<never> {
    const { signal } = callContext()!;
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    throw signal.reason;
  }
  async crash(): Promise<never> {
    process.exit(3);
  }
}

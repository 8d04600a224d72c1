/** Warnings kept of one parse: garbage of a million lines must not become a million warnings. */
export const WARNING_LIMIT = 32;
/** Characters of foreign text shown in a warning or an error. */
const QUOTE_LIMIT_CHARS = 120;

/** Bounded list of warnings. */
export class WarningList {
  #kept: string[] = [];
  #dropped = 0;

  add(warning: string): void {
    if (this.#kept.includes(warning)) return;
    if (this.#kept.length < WARNING_LIMIT) this.#kept.push(warning);
    else this.#dropped++;
  }

  /** The warnings; the last one counts those that were dropped. */
  list(): string[] {
    return this.#dropped === 0 ? [...this.#kept] : [...this.#kept, `and ${this.#dropped} more warnings`];
  }
}

/** Foreign text for a message: one line, cut, and harmless to a terminal (reliability B31). */
export function quote(text: string): string {
  const clean = text.slice(0, QUOTE_LIMIT_CHARS * 2).replace(/[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]+/g, " ");
  return `"${clean.length > QUOTE_LIMIT_CHARS ? `${clean.slice(0, QUOTE_LIMIT_CHARS)}…` : clean}"`;
}

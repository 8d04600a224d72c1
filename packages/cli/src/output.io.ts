import { screenText } from "./screen-text.ts";

/** Where a command speaks: data on stdout, narration on stderr. */
export interface Output {
  /** One line of data. */
  data(line: string): void;
  /** One line that another process wrote: a terminal shows its escapes and does not obey them (reliability B31). */
  log(line: string): void;
  /** One JSON object on one line. */
  json(value: unknown): void;
  /** Somebody looks at stdout; what goes elsewhere may be kept. */
  readonly isTerminal: boolean;
  /** For people; never parsed. */
  say(line: string): void;
  /** Bold where stdout is a terminal and NO_COLOR is not set. */
  bold(text: string): string;
}

export function terminalOutput(env: NodeJS.ProcessEnv = process.env): Output {
  const isTerminal = process.stdout.isTTY === true;
  const colour = isTerminal && !env["NO_COLOR"];
  return {
    isTerminal,
    data: (line) => void process.stdout.write(`${line}\n`),
    log: (line) => void process.stdout.write(`${isTerminal ? screenText(line) : line}\n`),
    json: (value) => void process.stdout.write(`${JSON.stringify(value)}\n`),
    say: (line) => void process.stderr.write(`${line}\n`),
    bold: (text) => (colour ? `\u001b[1m${text}\u001b[22m` : text),
  };
}

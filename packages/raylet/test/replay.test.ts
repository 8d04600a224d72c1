import { expect, test } from "vitest";
import { replayable } from "../src/replay.ts";
import { SCROLLBACK_LIMIT_BYTES } from "../src/terminal.ts";

const shown = (text: string): string => Buffer.from(replayable(Buffer.from(text))).toString();

test.each([
  "\u001b[6n",
  "\u001b[5n",
  "\u001b[c",
  "\u001b[>0c",
  "\u001b[?2026$p",
  "\u001b[>q",
  "\u001b]11;?\u0007",
  "\u001b]4;1;?\u001b\\",
  "\u001bP+q544e\u001b\\",
])("the question %j is not asked again: its answer would be typed into the rank", (query) => {
  expect(shown(`é${query}(Pdb) `)).toBe("é(Pdb) ");
});

test("colours, cursor moves and titles are shown again as they were", () => {
  const text = "\u001b[1;31mred\u001b[0m\u001b[2J\u001b[10;2H\u001b]0;title\u0007\u001b[?25l né";
  expect(shown(text)).toBe(text);
});

test("a scrollback that has lost its beginning starts with a whole line", () => {
  const text = `lf of it\n${"x".repeat(SCROLLBACK_LIMIT_BYTES)}`;
  expect(shown(text)).toBe("x".repeat(SCROLLBACK_LIMIT_BYTES));
});

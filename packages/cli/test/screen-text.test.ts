import fc from "fast-check";
import { expect, test } from "vitest";
import { ScreenText } from "../src/screen-text.ts";

const shown = (text: string): string => new ScreenText().push(Buffer.from(text));

test("B31: OSC 52, titles, bells, NUL, cursor moves and C1 are shown, not obeyed; colours go", () => {
  expect(shown("\u001b]52;c;aGk=\u0007")).toBe("␛]52;c;aGk=␇");
  expect(shown("\u001b]0;title\u001b\\")).toBe("␛]0;title␛\\");
  expect(shown("\u001b[2J\u0000\u0008\u007f\u009b1A")).toBe("␛[2J␀␈␡\\x9b1A");
  expect(shown("\u001b[1;31mred\u001b[0m\tend\n")).toBe("red\tend\n");
});

test("B31: each step of a progress bar is a line; CRLF is one newline, also when it is cut in two", () => {
  expect(shown("10%\r20%\r\r\ndone\r\n")).toBe("10%\n20%\ndone\n");
  const text = new ScreenText();
  expect(text.push(Buffer.from("one\r"))).toBe("one");
  expect(text.push(Buffer.from("\ntwo"))).toBe("\ntwo");
});

test("B31: whatever bytes come in whatever pieces, nothing that a terminal obeys comes out", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 20 })), (pieces) => {
      const text = new ScreenText();
      const all = pieces.map((piece) => text.push(piece)).join("");
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
      expect(all).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
    }),
  );
});

test("a character that is cut in two is whole", () => {
  const text = new ScreenText();
  const bytes = Buffer.from("é");
  expect(text.push(bytes.subarray(0, 1)) + text.push(bytes.subarray(1))).toBe("é");
});

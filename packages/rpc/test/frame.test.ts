import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  encodeFrame,
  encodePrefix,
  FLAG,
  FrameSplitter,
  frameFlags,
  frameHeaderLength,
  frameKind,
  frameLength,
  frameRoute,
  frameSequence,
  KIND,
  MAX_FRAME_BYTES,
  MAX_HEADER_BYTES,
  PREFIX_BYTES,
  parseFrame,
  rewriteRoute,
} from "../src/index.ts";
import { codeOf } from "./frames.ts";

const frame = fc.record({
  route: fc.integer({ min: 0, max: 0xffff_ffff }),
  kind: fc.constantFrom(...Object.values(KIND)),
  flags: fc.integer({ min: 0, max: 7 }),
  sequence: fc.maxSafeNat(),
  header: fc.uint8Array({ maxLength: 100 }),
  body: fc.uint8Array({ maxLength: 300 }),
});

describe("the prefix", () => {
  test("what is written is read again, by the parser and by the cheap readers", () => {
    fc.assert(
      fc.property(frame, (one) => {
        const raw = encodeFrame(one.route, one.kind, one.flags, one.sequence, one.header, one.body);
        expect(parseFrame(raw)).toEqual(one);
        expect(frameRoute(raw)).toBe(one.route);
        expect(frameKind(raw)).toBe(one.kind);
        expect(frameFlags(raw)).toBe(one.flags);
        expect(frameSequence(raw)).toBe(one.sequence);
        expect(frameHeaderLength(raw)).toBe(one.header.length);
        expect(frameLength(raw)).toBe(raw.length - PREFIX_BYTES);
      }),
    );
  });

  test("prefixes from one slab do not touch each other", () => {
    const prefixes = Array.from({ length: 5_000 }, (_, i) =>
      encodePrefix(i, KIND.REPLY, FLAG.CHUNKED, 0, i * 2 ** 30, 0),
    );
    prefixes.forEach((raw, i) => {
      expect([frameRoute(raw), frameSequence(raw)]).toEqual([i, i * 2 ** 30]);
    });
  });

  test("a forwarder changes the route and nothing else", () => {
    const raw = encodeFrame(7, KIND.CHUNK, FLAG.FROM_CALLEE, 99, undefined, Uint8Array.of(1, 2, 3));
    const before = parseFrame(raw.slice());
    rewriteRoute(raw, 0xfedc_ba98);
    expect(parseFrame(raw)).toEqual({ ...before, route: 0xfedc_ba98 });
  });

  test("header and body of a parsed frame are views, not copies", () => {
    const raw = encodeFrame(1, KIND.REQUEST, 0, 1, Uint8Array.of(1), Uint8Array.of(2));
    const { header, body } = parseFrame(raw);
    expect(header.buffer).toBe(raw.buffer);
    expect(body.buffer).toBe(raw.buffer);
  });

  test("the limits hold exactly: body, header, sequence", () => {
    expect(encodePrefix(1, KIND.CHUNK, 0, 0, 1, MAX_FRAME_BYTES).length).toBe(PREFIX_BYTES);
    expect(codeOf(() => encodePrefix(1, KIND.CHUNK, 0, 0, 1, MAX_FRAME_BYTES + 1))).toBe("FRAME_SIZE");
    expect(encodePrefix(1, KIND.OPEN, 0, MAX_HEADER_BYTES, 1, 0).length).toBe(PREFIX_BYTES);
    expect(codeOf(() => encodePrefix(1, KIND.OPEN, 0, MAX_HEADER_BYTES + 1, 1, 0))).toBe("FRAME_SIZE");
    expect(frameSequence(encodePrefix(1, KIND.REPLY, 0, 0, Number.MAX_SAFE_INTEGER, 0))).toBe(Number.MAX_SAFE_INTEGER);
    for (const sequence of [-1, 1.5, 2 ** 53, Number.NaN]) {
      expect(codeOf(() => encodePrefix(1, KIND.REPLY, 0, 0, sequence, 0))).toBe("FRAME_SEQUENCE");
    }
  });

  test.each([
    ["too short", new Uint8Array(19), "FRAME_SIZE"],
    ["empty", new Uint8Array(0), "FRAME_SIZE"],
    ["shorter than it says", encodeFrame(1, 16, 0, 1, undefined, new Uint8Array(9)).subarray(0, 25), "FRAME_SIZE"],
    [
      "with a header longer than the frame",
      Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
      "FRAME_SIZE",
    ],
    [
      "with sequence 2^53",
      Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0),
      "FRAME_SEQUENCE",
    ],
  ])("a frame %s is refused", (_name, raw, code) => {
    expect(codeOf(() => parseFrame(raw))).toBe(code);
  });
});

describe("the splitter", () => {
  function split(chunks: Uint8Array[]): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const splitter = new FrameSplitter((raw) => frames.push(raw));
    for (const chunk of chunks) splitter.push(chunk);
    expect(splitter.insideFrame).toBe(false);
    return frames;
  }

  test("any cutting of the stream gives the same frames", () => {
    const cuts = fc.array(fc.integer({ min: 0, max: 4_000 }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 12 }), cuts, (frames, at) => {
        const raws = frames.map((one) => encodeFrame(0, one.kind, one.flags, one.sequence, one.header, one.body));
        const stream = Buffer.concat(raws);
        const places = [0, ...at.filter((cut) => cut <= stream.length).sort((a, b) => a - b), stream.length];
        const chunks = places.slice(1).map((end, index) => stream.subarray(places[index], end));
        expect(split(chunks).map((raw) => Buffer.from(raw))).toEqual(raws.map((raw) => Buffer.from(raw)));
      }),
    );
  });

  test("byte by byte, too", () => {
    const raws = [encodeFrame(1, 16, 0, 1, Uint8Array.of(5), new Uint8Array(100)), encodeFrame(3, 18, 0, 2)];
    const chunks = [...Buffer.concat(raws)].map((byte) => Uint8Array.of(byte));
    expect(split(chunks)).toEqual(raws);
  });

  test("a frame within one chunk is a view of it; one over several chunks is not", () => {
    const raw = encodeFrame(1, 16, 0, 1, undefined, new Uint8Array(64));
    const chunk = new Uint8Array([...raw, ...raw.subarray(0, 30)]);
    const frames: Uint8Array[] = [];
    const splitter = new FrameSplitter((one) => frames.push(one));
    splitter.push(chunk);
    expect(splitter.insideFrame).toBe(true);
    splitter.push(raw.slice(30));
    expect(frames).toEqual([raw, raw]);
    expect(frames[0]!.buffer).toBe(chunk.buffer);
    expect(frames[1]!.buffer).not.toBe(chunk.buffer);
  });

  test("a length above the limit is refused with its first four bytes, before anything is kept for it (B1)", () => {
    const splitter = new FrameSplitter(() => {});
    splitter.push(Uint8Array.of(1, 0));
    expect(codeOf(() => splitter.push(Uint8Array.of(8, 0)))).toBe("FRAME_SIZE");
    splitter.push(new Uint8Array(100));
    expect(splitter.insideFrame).toBe(false);
  });

  test("the largest frame passes", () => {
    const raw = encodeFrame(1, KIND.CHUNK, 0, 1, undefined, new Uint8Array(MAX_FRAME_BYTES));
    expect(split([raw.subarray(0, 1_000), raw.subarray(1_000)])).toEqual([raw]);
  });

  test.each(["GET / HTTP/1.1", "POST /", "HEAD / ", "HTTP/1.1 400", "PRI * HTTP/2.0", "SSH-2.0-OpenSSH"])(
    "a stream that starts with %j speaks another protocol (B3)",
    (text) => {
      expect(codeOf(() => new FrameSplitter(() => {}).push(Buffer.from(text)))).toBe("WRONG_PROTOCOL");
      const slow = new FrameSplitter(() => {});
      expect(
        codeOf(() => {
          for (const byte of Buffer.from(text)) slow.push(Uint8Array.of(byte));
        }),
      ).toBe("WRONG_PROTOCOL");
    },
  );

  test.each([
    [0x16, 3, 1, 2, 0, 1],
    [0x16, 3, 3, 0, 0xf4, 1],
    [0x15, 3, 3, 0, 2, 2],
  ])("a stream that starts with TLS %j speaks another protocol (B3)", (...bytes) => {
    expect(codeOf(() => new FrameSplitter(() => {}).push(Uint8Array.from(bytes)))).toBe("WRONG_PROTOCOL");
  });

  test("after stop, also from inside a frame's delivery, nothing more comes", () => {
    const raw = encodeFrame(1, 16, 0, 1);
    const frames: Uint8Array[] = [];
    const splitter: FrameSplitter = new FrameSplitter((one) => {
      frames.push(one);
      splitter.stop();
    });
    splitter.push(Buffer.concat([raw, raw, raw]));
    splitter.push(raw);
    expect(frames.length).toBe(1);
  });
});

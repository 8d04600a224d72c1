/** A TCP socket that listens. */
export interface Listening {
  readonly address: string;
  readonly port: number;
  readonly inode: number;
}

const LISTEN = "0A";

/** Reads /proc/net/tcp and /proc/net/tcp6: what listens. Lines of another form are left out. */
export function parseTcpTable(text: string): Listening[] {
  const found: Listening[] = [];
  for (const line of text.split("\n").slice(1)) {
    const cells = line.trim().split(/\s+/);
    const local = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(cells[1] ?? "");
    if (!local || cells[3] !== LISTEN || !/^\d+$/.test(cells[9] ?? "")) continue;
    found.push({ address: addressOf(local[1]!), port: Number.parseInt(local[2]!, 16), inode: Number(cells[9]) });
  }
  return found;
}

/** The kernel prints addresses in words of its own byte order, which is little-endian on every machine we run on. */
function addressOf(hex: string): string {
  const bytes = hex.match(/.{8}/g)!.flatMap((word) =>
    word
      .match(/../g)!
      .reverse()
      .map((byte) => Number.parseInt(byte, 16)),
  );
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.every((byte) => byte === 0)) return "[::]";
  if (bytes.slice(0, 15).every((byte) => byte === 0) && bytes[15] === 1) return "[::1]";
  if (bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255)
    return bytes.slice(12).join(".");
  const groups = Array.from({ length: 8 }, (_, at) => (bytes[at * 2]! * 256 + bytes[at * 2 + 1]!).toString(16));
  return `[${groups.join(":")}]`;
}

import type { Socket } from "node:net";

/** Calls back for each frame of a fixed size, however the stream cuts them. Returns the undo. */
export function onFrames(socket: Socket, frameBytes: number, callback: (frame: Buffer) => void): () => void {
  let rest: Buffer = Buffer.alloc(0);
  const onData = (data: Buffer): void => {
    const all = rest.length === 0 ? data : Buffer.concat([rest, data]);
    let at = 0;
    for (; at + frameBytes <= all.length; at += frameBytes) callback(all.subarray(at, at + frameBytes));
    rest = all.subarray(at);
  };
  socket.on("data", onData);
  return () => socket.off("data", onData);
}

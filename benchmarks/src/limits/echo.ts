import { connect, createServer } from "node:net";
import { onFrames } from "./frames.ts";

// A helper process with three sockets: one echoes, one passes on to an upstream socket and back, one answers frame by frame.
const [echoPath, relayPath, upstreamPath, framesPath] = process.argv.slice(2) as [string, string, string, string];
/** As in raw.ts. */
const FRAME_BYTES = 48;

const echo = createServer((socket) => socket.on("data", (data) => socket.write(data)));
const relay = createServer((socket) => {
  const upstream = connect(upstreamPath);
  socket.on("data", (data) => upstream.write(data));
  upstream.on("data", (data) => socket.write(data));
  socket.on("close", () => upstream.destroy());
});
const frames = createServer((socket) => {
  let answers: Buffer[] = [];
  onFrames(socket, FRAME_BYTES, (frame) => {
    if (answers.length === 0) {
      process.nextTick(() => {
        socket.write(Buffer.concat(answers));
        answers = [];
      });
    }
    const answer = Buffer.alloc(FRAME_BYTES);
    answer.writeUInt32LE(frame.readUInt32LE(4), 4);
    answers.push(answer);
  });
});
echo.listen(echoPath, () => relay.listen(relayPath, () => frames.listen(framesPath, () => process.send?.("ready"))));

import { connect, createServer } from "node:net";

// A helper process: echoes whatever comes on one socket, and on another one passes it to an upstream socket and back.
const [echoPath, relayPath, upstreamPath] = process.argv.slice(2) as [string, string, string];
createServer((socket) => socket.on("data", (data) => socket.write(data))).listen(echoPath, () => {
  createServer((socket) => {
    const upstream = connect(upstreamPath);
    socket.on("data", (data) => upstream.write(data));
    upstream.on("data", (data) => socket.write(data));
    socket.on("close", () => upstream.destroy());
  }).listen(relayPath, () => process.send?.("ready"));
});

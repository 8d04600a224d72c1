import { type AddressInfo, createServer } from "node:net";

// A helper process: takes messages of a fixed size over TCP on loopback, answers each with one byte.
const bytes = Number(process.argv[2]);
const server = createServer((socket) => {
  let missing = bytes;
  socket.on("data", (data) => {
    missing -= data.length;
    if (missing > 0) return;
    missing += bytes;
    socket.write("k");
  });
});
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));

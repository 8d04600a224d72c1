import { fork } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";

/** A raw copy over TCP on loopback into another Node process, which looks at nothing. */
export interface TcpCopy {
  copy(): Promise<void>;
  close(): void;
}

export async function openTcpCopy(bytes: number): Promise<TcpCopy> {
  const child = fork(fileURLToPath(new URL("./sink.ts", import.meta.url)), [String(bytes)], {
    detached: true,
  });
  const [port] = (await once(child, "message")) as [number];
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const data = Buffer.alloc(bytes, 1);
  return {
    async copy() {
      const answer = once(socket, "data");
      socket.write(data);
      await answer;
    },
    close() {
      socket.destroy();
      child.kill("SIGKILL");
    },
  };
}

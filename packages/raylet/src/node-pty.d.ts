/** The part of node-pty that we use. The package's own types are declared under the name of its Linux build. */
declare module "node-pty" {
  interface Pty {
    readonly pid: number;
    onData(listener: (data: string | Uint8Array) => void): void;
    onExit(listener: (exit: { exitCode: number; signal?: number }) => void): void;
    /** The master side, non-blocking. `KeyPipe` writes to it: `write` spins while the process does not read. */
    readonly fd: number;
    /** The descriptor was closed. */
    on(event: "close", listener: () => void): void;
    resize(columns: number, rows: number): void;
    pause(): void;
    resume(): void;
    kill(signal: string): void;
  }
  interface PtyOptions {
    cwd: string;
    env: Record<string, string>;
    cols: number;
    rows: number;
    /** null gives bytes instead of text. */
    encoding: string | null;
  }
  export function spawn(file: string, args: string[], options: PtyOptions): Pty;
}

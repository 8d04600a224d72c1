/** Something that only the files which exist for it may do. */
export interface Ban {
  /** Key in tidy.json. */
  name: string;
  call?: RegExp;
  /** Modules that do the same. */
  modules?: string[];
  /** What to use instead. */
  instead: string;
}

const FREE = "(?<![\\w$.])(?:globalThis\\s*\\.\\s*)?";
const port = "take an interface that a `*.io.ts` file implements";

export const BANS: Ban[] = [
  {
    name: "clock",
    call: new RegExp(`${FREE}(?:Date\\.now\\b|performance\\.now\\b|new Date\\(\\s*\\)|Date\\(\\))`),
    modules: ["node:perf_hooks"],
    instead: "take a Clock from @whipray/core",
  },
  {
    name: "timers",
    call: new RegExp(`${FREE}(?:setTimeout|setInterval)\\b`),
    modules: ["node:timers", "node:timers/promises"],
    instead: "take a Clock from @whipray/core (`after`, `delay`)",
  },
  {
    name: "random",
    call: new RegExp(`${FREE}Math\\.random\\b`),
    modules: ["nanoid"],
    instead: "take a RandomSource or IdSource from @whipray/core",
  },
  {
    name: "process",
    call: new RegExp(
      `${FREE}process\\s*\\.\\s*(?:env|exit|exitCode|kill|on|once|abort|chdir)\\b|\\}\\s*=\\s*process\\b`,
    ),
    modules: ["node:process"],
    instead: "take what is needed as an argument",
  },
  { name: "files", modules: ["node:fs", "node:fs/promises"], instead: port },
  {
    name: "sockets",
    modules: ["node:net", "node:tls", "node:dgram", "ws"],
    instead: "take a transport from @whipray/rpc",
  },
  { name: "processes", modules: ["node:child_process", "node:cluster", "node-pty"], instead: port },
  { name: "http", modules: ["node:http", "node:https", "node:http2"], instead: port },
  { name: "sqlite", modules: ["node:sqlite"], instead: "take the head's store interface" },
  { name: "systeminformation", modules: ["systeminformation"], instead: port },
  { name: "msgpackr", modules: ["msgpackr"], instead: "use the codec of @whipray/rpc, which scans first" },
];

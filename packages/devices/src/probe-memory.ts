import type { DeviceFile, Listing, Probe, ProbeOutcome } from "./probe.ts";

/** What a tool of the imagined machine does: its output after exit code 0, or an outcome of any kind. */
export type ToolStory = string | Partial<ProbeOutcome>;

/** A machine that exists in memory only. */
export interface MemoryMachine {
  /** Default `imagined`. */
  readonly machine?: string;
  /** Default false: as if it were a real machine. */
  readonly imagined?: boolean;
  /** Tool name → what it does with these arguments. A tool that is absent is missing from the PATH. */
  readonly tools?: Readonly<Record<string, ToolStory | ((args: readonly string[]) => ToolStory)>>;
  /** Folder → its entries; plain names are character files. `null`: the folder cannot be read. */
  readonly folders?: Readonly<Record<string, readonly (string | DeviceFile)[] | null>>;
  /** Path → text. */
  readonly files?: Readonly<Record<string, string>>;
  /** Path → pids that have it open. `null`: it cannot be found out. */
  readonly open?: Readonly<Record<string, readonly number[]>> | null;
}

/** The in-memory twin of `systemProbe`, which also remembers what was run. */
export interface MemoryProbe extends Probe {
  readonly calls: (readonly string[])[];
}

export function memoryProbe({
  machine = "imagined",
  imagined = false,
  tools = {},
  folders = {},
  files = {},
  open = {},
}: MemoryMachine): MemoryProbe {
  const calls: (readonly string[])[] = [];
  return {
    calls,
    machine,
    imagined,
    async run(argv, signal) {
      calls.push(argv);
      const [tool, ...args] = argv;
      if (signal?.aborted) return outcomeOf({ end: "aborted", message: `${tool} was not run: aborted` });
      if (!Object.hasOwn(tools, tool)) return outcomeOf({ end: "missing", message: `${tool} is not on the PATH` });
      const story = tools[tool]!;
      return outcomeOf(typeof story === "function" ? story(args) : story);
    },
    async list(folder): Promise<Listing> {
      const entries = Object.hasOwn(folders, folder) ? folders[folder]! : [];
      if (entries === null) return { entries: undefined, message: `${folder} cannot be read` };
      return {
        entries: entries.map((entry) => (typeof entry === "string" ? { name: entry, kind: "character" } : entry)),
        message: "",
      };
    },
    async read(path) {
      return Object.hasOwn(files, path) ? files[path] : undefined;
    },
    async users(paths) {
      if (open === null) return { pids: undefined, elapsedMs: 0, message: "open files cannot be looked through" };
      const found = paths.flatMap((path) => (Object.hasOwn(open, path) ? [[path, open[path]!] as const] : []));
      return { pids: new Map(found), elapsedMs: 0, message: "" };
    },
  };
}

function outcomeOf(story: ToolStory): ProbeOutcome {
  const told: Partial<ProbeOutcome> = typeof story === "string" ? { stdout: story } : story;
  const end = told.end ?? "exited";
  const exitCode = end === "exited" ? (told.exitCode ?? 0) : null;
  const message = told.message ?? (exitCode === 0 ? "" : `ended as ${end}, exit code ${exitCode}`);
  return {
    end,
    exitCode,
    message,
    stdout: told.stdout ?? "",
    stderr: told.stderr ?? "",
    elapsedMs: told.elapsedMs ?? 0,
  };
}

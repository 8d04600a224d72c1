import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Column } from "./compare.ts";
import { startDaemons } from "./daemons.ts";
import { MARK } from "./family.ts";
import { LastingSide } from "./lasting-side.ts";
import type { RowSpec } from "./rows.ts";
import type { SideCommand } from "./side.ts";
import { HEADLINE } from "./table.ts";

const WHIPRAY_SIDE = fileURLToPath(new URL("./whipray-side.ts", import.meta.url));
const RAY_SIDE = fileURLToPath(new URL("../../ray/ray_side.py", import.meta.url));
const WHIPRAY_CLI = fileURLToPath(new URL("../../node_modules/.bin/whipray", import.meta.url));

/** Columns in the order of the table. `--quick` takes the first two. */
export const COLUMNS = ["ray", HEADLINE, "ray prestarted", "whipray embedded"] as const;
export type ColumnName = (typeof COLUMNS)[number];

export interface Opened {
  columns: Column[];
  facts: Record<string, unknown>;
  /** Ends all sides and daemons. */
  close(): Promise<void>;
}

/** Starts the sides of these columns, and the daemons that they need; `folder` must have a short path (Ray's sockets). */
export async function openColumns(
  names: readonly ColumnName[],
  python: string,
  folder: string,
  remote: boolean,
): Promise<Opened> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const ends: (() => Promise<void>)[] = [];
  const mark = `vs-ray-${process.pid}`;
  const close = async (): Promise<void> => {
    for (const end of ends.reverse()) await end().catch((error: unknown) => console.error(String(error)));
  };
  const open = async (command: SideCommand): Promise<LastingSide> => {
    const side = await LastingSide.start(command);
    ends.push(() => side.close());
    return side;
  };
  const ray = (mode: string): Promise<LastingSide> => {
    const temporary = join(folder, mode.slice(0, 1));
    mkdirSync(temporary, { recursive: true });
    return open({ file: python, args: [RAY_SIDE, mode], env: { RAY_TMPDIR: temporary } });
  };
  const node = (mode: string, env: SideCommand["env"]): Promise<LastingSide> =>
    open({ file: process.execPath, args: [WHIPRAY_SIDE, mode], env: { [MARK]: mark, ...env } });

  try {
    const columns: Column[] = [];
    const facts: Record<string, unknown> = {};
    const add = (name: string, side: LastingSide, far?: LastingSide): void => {
      Object.assign(facts, side.facts);
      columns.push(columnOf(name, side, far));
    };
    for (const name of names) {
      if (name === "ray") add(name, await ray("default"), remote ? await ray("client") : undefined);
      else if (name === "ray prestarted") add(name, await ray("prestart"));
      else if (name === "whipray embedded") add(name, await node("embedded", { HOME: home(folder, "embedded") }));
      else {
        const daemons = await startDaemons(WHIPRAY_CLI, folder, mark);
        ends.push(daemons.stop);
        add(
          name,
          await node("connected", daemons.env),
          remote ? await node("connected", daemons.remoteEnv) : undefined,
        );
      }
    }
    return { columns, facts, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function columnOf(name: string, near: LastingSide, far: LastingSide | undefined): Column {
  const sideOf = (row: RowSpec): LastingSide | undefined => (row.remote ? far : near);
  return {
    name,
    has: (row) => sideOf(row) !== undefined && !(row.far && name === "whipray embedded"),
    ask: async (row, request) => (await sideOf(row)?.ask(request)) ?? { error: "this column has no such side" },
  };
}

function home(folder: string, name: string): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

export function pythonVersion(python: string): string {
  return execFileSync(python, ["--version"], { encoding: "utf8" }).trim().replace("Python ", "");
}

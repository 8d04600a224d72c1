import { createHash } from "node:crypto";
import { readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import { relativeImports } from "./relative-imports.ts";

/** Files of one module's code that are compared, itself included; what lies behind is not. */
export const CODE_FILES_LIMIT = 256;
/** Bytes of imported files that are read for it; further ones are compared by their size. */
export const CODE_BYTES_LIMIT = 8 * 2 ** 20;
/** Enough to tell versions of a file apart. */
export const IMPORT_HASH_CHARS = 16;
/** Files that one process remembers. */
const KNOWN_FILES_LIMIT = 4_096;
/** A younger file may change once more without a new time of change. */
const SETTLED_MS = 1_000;

const SOURCES = new Set([".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"]);
/** How `require` completes a path. */
const ENDINGS = ["", ".js", ".json", ".cjs", ".ts", "/index.js"];

/** What must be the same on every node that loads a module (design.md, mechanism 14). */
export interface ModuleCode {
  /** SHA-256 (hex) of the module file. */
  readonly codeHash: string;
  /** Of each file that it imports by a relative path, and of those that these import, in the order in which they are met; "" for one that is missing. */
  readonly importHashes: string[];
}

/** As it comes over the wire. What is absent is not compared. */
export interface ForeignCode {
  readonly codeHash?: string | undefined;
  readonly importHashes?: readonly string[] | undefined;
}

interface KnownFile {
  readonly size: number;
  readonly mtimeMs: number;
  readonly hash: string;
  readonly imports: readonly string[];
}

export interface CodeFile {
  readonly path: string;
  /** Undefined for one that is missing. */
  readonly hash: string | undefined;
}

const known = new Map<string, KnownFile>();

/** SHA-256 (hex) of a file; read again only when its size or time of change is another. Undefined where none can be read. */
export function fileHash(path: string): string | undefined {
  const stats = fileStats(path);
  return stats && look(path, stats)?.hash;
}

/** The code of a module file as it is here. Undefined where none can be read. */
export function moduleCode(module: string): ModuleCode | undefined {
  const [own, ...imported] = codeFiles(module);
  if (own?.hash === undefined) return undefined;
  return { codeHash: own.hash, importHashes: imported.map(({ hash }) => shortened(hash)) };
}

/** The first file of a module's code that is not here what it was there; undefined when all are the same. */
export function firstDifference(module: string, there: ForeignCode): CodeFile | undefined {
  const { codeHash, importHashes } = there;
  let index = -1;
  // As long as all files are the same they import the same: both sides meet them in one order.
  for (const file of codeFiles(module)) {
    if (index < 0 ? file.hash !== codeHash : shortened(file.hash) !== importHashes?.[index]) return file;
    if (++index >= (importHashes?.length ?? 0)) return undefined;
  }
  return undefined;
}

/** The module and what it imports, breadth first. Read at once: they are few, and the next thing that happens to them is their import. */
function* codeFiles(module: string): Generator<CodeFile> {
  const paths = [realPath(module)];
  let bytes = 0;
  for (let index = 0; index < paths.length && index < CODE_FILES_LIMIT; index++) {
    const path = paths[index]!;
    const stats = fileStats(path);
    if (index > 0) bytes += stats?.size ?? 0;
    if (stats && bytes > CODE_BYTES_LIMIT) {
      yield { path, hash: sha256(String(stats.size)) };
      continue;
    }
    const file = stats && look(path, stats);
    yield { path, hash: file?.hash };
    for (const specifier of file?.imports ?? []) {
      const next = resolved(resolve(dirname(path), specifier));
      if (!paths.includes(next)) paths.push(next);
    }
  }
}

function look(path: string, { size, mtimeMs }: Stats): KnownFile | undefined {
  const before = known.get(path);
  if (before?.size === size && before.mtimeMs === mtimeMs) return before;
  const content = contentOf(path);
  if (!content) return undefined;
  const imports = SOURCES.has(extname(path)) ? relativeImports(content.toString()) : [];
  const file = { size, mtimeMs, hash: sha256(content), imports };
  if (known.size >= KNOWN_FILES_LIMIT) known.clear();
  if (Date.now() - mtimeMs > SETTLED_MS) known.set(path, file);
  else known.delete(path);
  return file;
}

function contentOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined; // for this process it is missing
  }
}

function resolved(path: string): string {
  const ending = ENDINGS.find((one) => fileStats(path + one));
  return ending === undefined ? path : realPath(path + ending);
}

function fileStats(path: string): Stats | undefined {
  try {
    const stats = statSync(path, { throwIfNoEntry: false });
    return stats?.isFile() ? stats : undefined;
  } catch {
    return undefined; // a name that cannot be: too long, a file as folder
  }
}

/** Imports are relative to where a file really lies (Node). */
function realPath(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    return path;
  }
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function shortened(hash: string | undefined): string {
  return hash?.slice(0, IMPORT_HASH_CHARS) ?? "";
}

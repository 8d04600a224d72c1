import type { DatabaseSync, DatabaseSyncOptions } from "node:sqlite";

/**
 * Opens a database. Node 24 still prints an ExperimentalWarning when `node:sqlite` is loaded, into the terminal of whoever embeds a
 * cluster: the module is loaded on first use and without it. What SQLite throws passes through.
 */
export function openDatabase(path: string, options: DatabaseSyncOptions = {}): DatabaseSync {
  const sqlite = quietly(() => process.getBuiltinModule("node:sqlite"));
  return new sqlite.DatabaseSync(path, options);
}

/** Only what is loaded here, synchronously, goes unheard. */
function quietly<T>(load: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}

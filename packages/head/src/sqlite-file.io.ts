import { chmodSync, closeSync, existsSync, openSync, statSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { openDatabase } from "./sqlite.io.ts";

/** Version of the tables below; a journal of a newer one is refused, an older one is migrated here. */
export const SCHEMA_VERSION = 1;
/** "whpr": tells our journals from other SQLite files. */
const APPLICATION_ID = 0x77687072;
const PAGE_BYTES = 4_096;

export type StoredRow = [table: string, key: string, value: Uint8Array];
export type StoredWrite = [table: string, key: string, value: Uint8Array | null];

/** A failure as it crosses from the store's thread: stable code, text for people. */
export interface StorageFailure {
  code: "STORAGE_DAMAGED" | "STORAGE_VERSION" | "STORAGE_IN_USE" | "STORAGE_FULL" | "STORAGE_FAILED";
  message: string;
}

/** The journal's file, used by one thread that may block on fsync. Throws what `failureOf` translates. */
export class SqliteFile {
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;

  constructor(file: string, bytesLimit: number) {
    this.#file = file;
    keepPrivate(file);
    this.#db = openDatabase(file);
    try {
      this.#open(bytesLimit);
      this.#put = this.#db.prepare("INSERT OR REPLACE INTO entries (tbl, key, value, crc) VALUES (?, ?, ?, ?)");
      this.#delete = this.#db.prepare("DELETE FROM entries WHERE tbl = ? AND key = ?");
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  #open(bytesLimit: number): void {
    const db = this.#db;
    // One head a journal: the lock is held from the first read to the close.
    db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db.exec("BEGIN IMMEDIATE; COMMIT");
    db.exec(`PRAGMA max_page_count = ${Math.floor(bytesLimit / PAGE_BYTES)}`);
    const version = this.#pragma("user_version");
    if (version === 0 && this.#pragma("schema_version") === 0) {
      db.exec(
        "CREATE TABLE entries (tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (tbl, key))",
      );
      db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}; PRAGMA application_id = ${APPLICATION_ID}`);
      return;
    }
    if (this.#pragma("application_id") !== APPLICATION_ID) {
      throw refusal(
        "STORAGE_DAMAGED",
        `${this.#file} is a database, but not a journal of a Whipray head; give another file`,
      );
    }
    if (version > SCHEMA_VERSION) {
      throw refusal(
        "STORAGE_VERSION",
        `${this.#file} has journal version ${version}, this head reads up to ${SCHEMA_VERSION}; start the newer head`,
      );
    }
    const found = db.prepare("PRAGMA integrity_check(1)").get() as { integrity_check: string };
    if (found.integrity_check !== "ok") throw this.#damaged(found.integrity_check);
  }

  #pragma(name: string): number {
    return Number(Object.values(this.#db.prepare(`PRAGMA ${name}`).get() ?? {})[0] ?? 0);
  }

  load(): StoredRow[] {
    const rows = this.#db.prepare("SELECT tbl, key, value, crc FROM entries").all();
    return rows.map(({ tbl, key, value, crc }) => {
      if (checksum(tbl as string, key as string, value as Uint8Array) !== crc)
        throw this.#damaged(`checksum of ${tbl}/${key} is wrong`);
      return [tbl as string, key as string, value as Uint8Array];
    });
  }

  /** All or nothing; on disk when it returns. */
  commit(writes: Iterable<StoredWrite>): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      for (const [table, key, value] of writes) {
        if (value) this.#put.run(table, key, value, checksum(table, key, value));
        else this.#delete.run(table, key);
      }
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  close(): void {
    this.#db.close();
  }

  #damaged(what: string): Error {
    return refusal(
      "STORAGE_DAMAGED",
      `the journal ${this.#file} is damaged: ${what}. Nothing was changed. Restore it from a copy, or save what can be read with: sqlite3 ${this.#file} .recover | sqlite3 recovered.db`,
    );
  }

  /** What went wrong, in our words. */
  static failureOf(error: unknown, file: string): StorageFailure {
    if (error instanceof Refusal) return error.failure;
    const { errcode, code, message } = error as { errcode?: number; code?: string; message?: string };
    const text = message ?? String(error);
    if (code === "ENOSPC" || code === "EDQUOT") return full(file, text);
    switch ((errcode ?? 0) & 0xff) {
      case 13:
        return full(file, text);
      case 5:
        return { code: "STORAGE_IN_USE", message: `the journal ${file} is in use by another head: ${text}` };
      case 11:
      case 26:
        return {
          code: "STORAGE_DAMAGED",
          message: `the journal ${file} is damaged: ${text}. Nothing was changed. Restore it from a copy, or save what can be read with: sqlite3 ${file} .recover | sqlite3 recovered.db`,
        };
      default:
        return { code: "STORAGE_FAILED", message: `the journal ${file} failed: ${text}` };
    }
  }
}

/** The journal names users' programs and arguments. SQLite gives its -wal and -shm the mode of the file, which it would make by the umask. */
function keepPrivate(file: string): void {
  closeSync(openSync(file, "a", 0o600));
  for (const path of [file, `${file}-wal`, `${file}-shm`]) {
    // Of an older version, or a copy that was put back.
    if (existsSync(path) && (statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
  }
}

class Refusal extends Error {
  readonly failure: StorageFailure;
  constructor(failure: StorageFailure) {
    super(failure.message);
    this.failure = failure;
  }
}

function full(file: string, text: string): StorageFailure {
  return { code: "STORAGE_FULL", message: `no room for the journal ${file}: ${text}; free some space` };
}

function refusal(code: StorageFailure["code"], message: string): Error {
  return new Refusal({ code, message });
}

function checksum(table: string, key: string, value: Uint8Array): number {
  return crc32(value, crc32(`${table}\0${key}\0`));
}

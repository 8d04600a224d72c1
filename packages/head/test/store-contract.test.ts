import { chmod, mkdtemp, open, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { type MemoryDisk, MemoryStore } from "../src/memory-store.ts";
import { SqliteFile } from "../src/sqlite-file.io.ts";
import { SqliteStore } from "../src/sqlite-store.io.ts";
import type { Store } from "../src/store.ts";

const folders: string[] = [];
const stores: Store[] = [];

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "whipray-store-"));
  folders.push(path);
  return path;
}

/** Opens a store on the same medium again and again. */
type Reopen = () => Store;
const kinds: [string, () => Promise<Reopen>][] = [
  [
    "memory",
    async () => {
      const disk: MemoryDisk = new Map();
      return () => keep(new MemoryStore(disk));
    },
  ],
  [
    "sqlite",
    async () => {
      const file = join(await folder(), "journal.db");
      return () => keep(new SqliteStore(file));
    },
  ],
];

function keep<T extends Store>(store: T): T {
  stores.push(store);
  return store;
}

afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
  for (const path of folders.splice(0)) await rm(path, { recursive: true });
});

describe.each(kinds)("the %s store", (_, prepare) => {
  test("starts empty, and keeps what was appended for the next one", async () => {
    const reopen = await prepare();
    const first = reopen();
    expect((await first.load()).groups.size).toBe(0);
    const value = { name: "a", bytes: Uint8Array.of(1, 2, 3), list: [1, { deep: true }], big: 2 ** 53 };
    await first.append([
      { table: "groups", key: "pg_a", value },
      { table: "kv", key: "x", value: "y" },
    ]);
    await first.append([{ table: "kv", key: "x" }]);
    await first.close();
    const contents = await reopen().load();
    expect(contents.groups.get("pg_a")).toEqual(value);
    expect(contents.kv.size).toBe(0);
  });

  test("copies values at once and stores batches in order", async () => {
    const reopen = await prepare();
    const store = reopen();
    await store.load();
    const value = { n: 0 };
    const appends = [];
    for (let n = 1; n <= 200; n++) {
      value.n = n;
      appends.push(store.append([{ table: "meta", key: "counter", value }]));
      value.n = -1;
    }
    await Promise.all(appends);
    await store.close();
    expect((await reopen().load()).meta.get("counter")).toEqual({ n: 200 });
  });

  test("close lets batches under way finish, and refuses later ones", async () => {
    const reopen = await prepare();
    const store = reopen();
    await store.load();
    const last = store.append([{ table: "meta", key: "last", value: 1 }]);
    await store.close();
    await last;
    await expect(store.append([{ table: "meta", key: "late", value: 1 }])).rejects.toMatchObject({
      code: "STORAGE_CLOSED",
    });
    expect([...(await reopen().load()).meta.keys()]).toEqual(["last"]);
  });
});

describe("the sqlite store", () => {
  test("mechanism 6: its connection writes a WAL and syncs it at each commit, and nobody else gets in", async () => {
    const file = join(await folder(), "journal.db");
    const executed = vi.spyOn(DatabaseSync.prototype, "exec");
    onTestFinished(() => executed.mockRestore());
    const journal = new SqliteFile(file, 1_000_000);
    // The connection itself must say it: `synchronous` is nowhere in the file.
    const connection = executed.mock.contexts[0] as DatabaseSync;
    const pragma = (name: string): unknown => Object.values(connection.prepare(`PRAGMA ${name}`).get()!)[0];
    const FULL = 2;
    expect(["journal_mode", "synchronous", "locking_mode"].map(pragma)).toEqual(["wal", FULL, "exclusive"]);
    journal.close();
  });

  test("its files are its user's alone, whatever the mask says and whoever made them", async () => {
    const path = await folder();
    const file = join(path, "journal.db");
    const modes = async () => {
      const names = (await readdir(path)).sort();
      return Promise.all(names.map(async (name) => [name, (await stat(join(path, name))).mode & 0o777]));
    };
    const mine = [
      ["journal.db", 0o600],
      ["journal.db-wal", 0o600],
    ];
    const made = keep(new SqliteStore(file));
    await made.load();
    await made.append([{ table: "kv", key: "x", value: "y" }]);
    expect(await modes()).toEqual(mine);
    await made.close();
    await chmod(file, 0o644);
    const again = keep(new SqliteStore(file));
    await again.load();
    await again.append([{ table: "kv", key: "x", value: "z" }]);
    expect(await modes()).toEqual(mine);
  });

  test("F8: a full disk refuses the batch whole, and goes on when there is room", async () => {
    const store = keep(new SqliteStore(join(await folder(), "journal.db"), { bytesLimit: 100_000 }));
    await store.load();
    await store.append([{ table: "kv", key: "small", value: "v" }]);
    const large = Buffer.alloc(200_000);
    const refused = store.append([
      { table: "kv", key: "small", value: "changed" },
      { table: "kv", key: "large", value: large },
    ]);
    await expect(refused).rejects.toMatchObject({ code: "STORAGE_FULL", retryable: true });
    await store.append([{ table: "kv", key: "after", value: 1 }]);
    const contents = await store.load();
    expect([...contents.kv]).toEqual([
      ["small", "v"],
      ["after", 1],
    ]);
  });

  test("F8: only the batch that does not fit fails, not those that shared its commit", async () => {
    const store = keep(new SqliteStore(join(await folder(), "journal.db"), { bytesLimit: 100_000 }));
    await store.load();
    const results = await Promise.allSettled(
      ["a", "b", "c"].map((key) =>
        store.append([{ table: "kv", key, value: key === "b" ? Buffer.alloc(200_000) : key }]),
      ),
    );
    expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });

  test("F9: a flipped bit is refused at start, naming the file, and the file is left as it is", async () => {
    const path = join(await folder(), "journal.db");
    const first = keep(new SqliteStore(path));
    await first.load();
    await first.append([{ table: "kv", key: "k", value: "x".repeat(3_000) }]);
    await first.close();
    const file = await open(path, "r+");
    const { size } = await file.stat();
    const bytes = Buffer.alloc(size);
    await file.read(bytes, 0, size, 0);
    const at = bytes.indexOf("xxxx") + 100;
    await file.write(Buffer.from("y"), 0, 1, at);
    await file.close();
    const failed = keep(new SqliteStore(path)).load();
    await expect(failed).rejects.toMatchObject({ code: "STORAGE_DAMAGED", details: { file: path } });
    await expect(failed).rejects.toThrow(/checksum of kv\/k .*recover/s);
  });

  test("F9: a file that is no database is refused, and so is another program's database", async () => {
    const path = join(await folder(), "journal.db");
    const file = await open(path, "w");
    await file.write("this is not a database, it is a letter of more than a hundred bytes ".repeat(30));
    await file.close();
    await expect(keep(new SqliteStore(path)).load()).rejects.toMatchObject({ code: "STORAGE_DAMAGED" });
    const other = join(await folder(), "other.db");
    const db = new DatabaseSync(other);
    db.exec("CREATE TABLE theirs (a)");
    db.close();
    await expect(keep(new SqliteStore(other)).load()).rejects.toMatchObject({ code: "STORAGE_DAMAGED" });
  });

  test("P20: a journal of a newer version is refused", async () => {
    const path = join(await folder(), "journal.db");
    const store = keep(new SqliteStore(path));
    await store.load();
    await store.close();
    const db = new DatabaseSync(path);
    db.exec("PRAGMA user_version = 99");
    db.close();
    await expect(keep(new SqliteStore(path)).load()).rejects.toMatchObject({ code: "STORAGE_VERSION" });
  });

  test("a second head on the same file is refused while the first one lives", async () => {
    const path = join(await folder(), "journal.db");
    await keep(new SqliteStore(path)).load();
    await expect(keep(new SqliteStore(path)).load()).rejects.toMatchObject({ code: "STORAGE_IN_USE" });
  });

  test("nothing but the one file is left after a close", async () => {
    const path = await folder();
    const store = keep(new SqliteStore(join(path, "journal.db")));
    await store.load();
    await store.append([{ table: "kv", key: "k", value: 1 }]);
    await store.close();
    expect(await readdir(path)).toEqual(["journal.db"]);
    expect((await stat(join(path, "journal.db"))).size).toBeGreaterThan(0);
  });
});

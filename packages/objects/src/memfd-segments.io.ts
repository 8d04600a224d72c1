import { ftruncateSync, read, write } from "node:fs";
import { promisify } from "node:util";
import { WhiprayError } from "@whipray/core";
import { type Libc, libc, MAP_FAILED, MAP_SHARED, PROT_READ_WRITE } from "./libc.io.ts";
import type { LentMemory, Segment, Segments } from "./segment.ts";

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Since Linux 6.3, where a machine may insist on it (vm.memfd_noexec). */
const MFD_NOEXEC_SEAL = 8;
const EINVAL = 22;
const F_ADD_SEALS = 1033;
export const F_SEAL_SEAL = 1;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

const readAt = promisify(read);
const writeAt = promisify(write);

/**
 * Segments as sealed memfds: they have no name in any file system, so nothing is left when the last process that has one ends;
 * nobody can truncate one under its readers; and the size of /dev/shm (64 MiB in a default container) is no limit.
 */
export class MemfdSegments implements Segments {
  readonly #mark: string;
  readonly #nextId: () => string;

  /** @param mark In the name of each segment: cluster and node, for who looks at `/proc/<pid>/maps`. */
  constructor(mark: string, nextId: () => string) {
    this.#mark = mark;
    this.#nextId = nextId;
  }

  make(bytes: number): Segment {
    const c = libc();
    const name = `whipray-${this.#mark}-${this.#nextId()}`;
    const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    let fd = c.memfdCreate(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && c.errno() === EINVAL) fd = c.memfdCreate(name, flags);
    if (fd < 0) throw failed(`memfd_create of ${name}`, c);
    try {
      ftruncateSync(fd, bytes);
      if (c.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) !== 0) throw failed(`sealing ${name}`, c);
    } catch (error) {
      c.close(fd);
      throw error;
    }
    let open = true;
    const own = new OwnMapping(fd, bytes, name);
    return {
      place: { pid: process.pid, fd, name, bytes },
      async read(offset, length) {
        const into = Buffer.allocUnsafeSlow(length);
        for (let done = 0; done < length; ) {
          const { bytesRead } = await readAt(fd, into, done, length - done, offset + done);
          if (bytesRead === 0)
            throw new WhiprayError({ code: "SEGMENT_LOST", message: `${name} ended at ${offset + done}` });
          done += bytesRead;
        }
        return into;
      },
      lend: () => own.lend(),
      async write(offset, from) {
        for (let done = 0; done < from.byteLength; ) {
          done += (await writeAt(fd, from, done, from.byteLength - done, offset + done)).bytesWritten;
        }
      },
      discard(mapped) {
        if (!open) return;
        open = false;
        // A writer keeps its mapping for the next object: the pages go nevertheless.
        if (!mapped) c.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, bytes);
        c.close(fd);
        own.close();
      },
    };
  }
}

/** The segment in its maker's own address space. It is mapped when it is lent first, and stays so: pages that are known are three times as fast. */
class OwnMapping {
  readonly #fd: number;
  readonly #bytes: number;
  readonly #name: string;
  #mapped: { address: bigint; memory: Uint8Array } | undefined;
  #lent = 0;
  #closed = false;

  constructor(fd: number, bytes: number, name: string) {
    this.#fd = fd;
    this.#bytes = bytes;
    this.#name = name;
  }

  lend(): LentMemory {
    if (this.#closed) throw new WhiprayError({ code: "SEGMENT_LOST", message: `${this.#name} was given up` });
    this.#mapped ??= this.#map();
    this.#lent++;
    const back = (): void => {
      this.#lent--;
      this.#unmapUnused();
    };
    return { memory: this.#mapped.memory, back };
  }

  close(): void {
    this.#closed = true;
    this.#unmapUnused();
  }

  #map(): { address: bigint; memory: Uint8Array } {
    const c = libc();
    const address = c.mmap(this.#bytes, PROT_READ_WRITE, MAP_SHARED, this.#fd);
    if (address === MAP_FAILED) throw failed(`mapping ${this.#name}`, c);
    return { address, memory: new Uint8Array(c.view(address, this.#bytes)) };
  }

  #unmapUnused(): void {
    if (!this.#closed || this.#lent > 0 || !this.#mapped) return;
    libc().munmap(this.#mapped.address, this.#bytes);
    this.#mapped = undefined;
  }
}

function failed(what: string, c: Libc): WhiprayError {
  return new WhiprayError({
    code: "SEGMENT_FAILED",
    message: `${what} failed with errno ${c.errno()}`,
    retryable: true,
  });
}

import { closeSync, constants, fstatSync, openSync, readlinkSync } from "node:fs";
import { WhiprayError } from "@whipray/core";
import { type Libc, libc, MAP_FAILED, MAP_SHARED, PROT_READ_WRITE } from "./libc.io.ts";
import { F_SEAL_SHRINK } from "./memfd-segments.io.ts";
import type { Mapping, SegmentMapper, SegmentPlace } from "./segment.ts";

const MAP_PRIVATE = 2;
const MAP_NORESERVE = 0x4000;
const F_GET_SEALS = 1034;

/**
 * Maps segments of other processes of this user by `/proc/<pid>/fd/<n>`. Name, size and seal are checked before, so that no other
 * file is taken for one, and no truncation can end this process with SIGBUS.
 */
export const procMapper: SegmentMapper = {
  writable: (place) => mapped(place, place.bytes, constants.O_RDWR, MAP_SHARED),
  // Private: what a reader writes stays with him, and does not end him with SIGSEGV.
  readable: (place, length) => mapped(place, length, constants.O_RDONLY, MAP_PRIVATE | MAP_NORESERVE),
};

function mapped(place: SegmentPlace, length: number, access: number, flags: number): Mapping {
  const c = libc();
  const fd = opened(place, access);
  try {
    check(place, fd, length, c);
    const address = c.mmap(length, PROT_READ_WRITE, flags, fd);
    if (address === MAP_FAILED) throw lost(place, `mmap failed with errno ${c.errno()}`);
    return { memory: keptHere(c.view(address, length)), unmap: unmapper(c, address, length) };
  } finally {
    closeSync(fd);
  }
}

function opened(place: SegmentPlace, access: number): number {
  try {
    return openSync(`/proc/${place.pid}/fd/${place.fd}`, access);
  } catch (error) {
    throw lost(place, `it cannot be opened: ${(error as Error).message}`);
  }
}

function check(place: SegmentPlace, fd: number, length: number, c: Libc): void {
  const target = readlinkSync(`/proc/self/fd/${fd}`);
  if (target !== `/memfd:${place.name} (deleted)`) throw lost(place, `its descriptor is ${target.slice(0, 100)}`);
  const { size } = fstatSync(fd);
  if (size !== place.bytes || length > size) throw lost(place, `it has ${size} bytes instead of ${place.bytes}`);
  const seals = c.fcntl(fd, F_GET_SEALS, 0);
  if (seals < 0 || (seals & F_SEAL_SHRINK) === 0) throw lost(place, "it is not sealed: it could be truncated under us");
}

/** Apart, so that the closure keeps no reference to the memory. */
function unmapper(c: Libc, address: bigint, length: number): () => void {
  return () => void c.munmap(address, length);
}

/**
 * Node lets nobody send this memory to another thread (it does so for all memory from native code), but `transfer()` would leave a
 * view behind that we do not know of, and that would end the process when the memory is unmapped.
 */
function keptHere(memory: ArrayBuffer): ArrayBuffer {
  const refuse = { value: () => refuseTransfer() };
  return Object.defineProperties(memory, { transfer: refuse, transferToFixedLength: refuse });
}

function refuseTransfer(): never {
  throw new TypeError("This memory belongs to an object of the store and cannot be transferred; copy it with slice()");
}

function lost({ name, pid, fd }: SegmentPlace, why: string): WhiprayError {
  return new WhiprayError({
    code: "SEGMENT_LOST",
    message: `Segment ${name} of process ${pid} cannot be mapped: ${why}`,
    details: { name, pid, fd },
  });
}

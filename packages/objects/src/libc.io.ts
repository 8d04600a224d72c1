import { WhiprayError } from "@whipray/core";
import type { KoffiFunc } from "koffi";

type Address = bigint;

/** The calls of the C library that Node lacks. */
export interface Libc {
  memfdCreate(name: string, flags: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  /** Node's own warns, in threads, of descriptors that it did not open. */
  close(fd: number): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  /** The address, or `MAP_FAILED`. */
  mmap(length: number, protection: number, flags: number, fd: number): Address;
  munmap(address: Address, length: number): number;
  /** The memory itself, not a copy. Node lets nobody move it to another thread. */
  view(address: Address, length: number): ArrayBuffer;
  errno(): number;
}

export const PROT_READ_WRITE = 3;
export const MAP_SHARED = 1;
export const MAP_FAILED: Address = 0xffff_ffff_ffff_ffffn;

let loaded: Libc | undefined;

/**
 * Loads koffi on first use: 10 ms that a program without large objects never spends.
 * @throws WhiprayError `SEGMENT_FAILED` where there is no koffi for the machine.
 */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  try {
    const koffi = process.getBuiltinModule("node:module").createRequire(import.meta.url)(
      "koffi",
    ) as typeof import("koffi");
    const c = koffi.load(null);
    const bind = <F extends (...args: never[]) => unknown>(text: string): KoffiFunc<F> => c.func(text) as KoffiFunc<F>;
    const mmap = bind<
      (at: null, length: number, protection: number, flags: number, fd: number, offset: number) => Address
    >("void *mmap(void *at, size_t length, int protection, int flags, int fd, int64_t offset)");
    return {
      memfdCreate: bind("int memfd_create(const char *name, unsigned int flags)"),
      fcntl: bind("int fcntl(int fd, int command, int argument)"),
      close: bind("int close(int fd)"),
      fallocate: bind("int fallocate(int fd, int mode, int64_t offset, int64_t length)"),
      mmap: (length, protection, flags, fd) => mmap(null, length, protection, flags, fd, 0),
      munmap: bind("int munmap(void *address, size_t length)"),
      view: (address, length) => koffi.view(address, length),
      errno: () => koffi.errno(),
    };
  } catch (cause) {
    throw new WhiprayError({
      code: "SEGMENT_FAILED",
      message: `Shared memory needs the package koffi, which could not be loaded here: ${String(cause)}`,
      cause,
    });
  }
}

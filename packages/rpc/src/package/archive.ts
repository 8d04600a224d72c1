import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { WhiprayError } from "@whipray/core";
import { decodeControl, encodeControl } from "../codec.ts";
import { bool, count, list, shape, str } from "../fields.ts";
import { checkMemberNames, MEMBER_PATH_LIMIT, unsafe } from "./member-names.ts";

/** Bytes of a package as it travels (Ray: GCS_STORAGE_MAX_SIZE, 100 MiB). */
export const PACKAGE_LIMIT_BYTES = 104_857_600;
/** Bytes of all its files together. */
export const UNPACKED_LIMIT_BYTES = 268_435_456;
export const PACKAGE_FILES_LIMIT = 20_000;

/** A file of a package. There is nothing else in one: no link, no device, no empty folder. */
export interface Member {
  /** Relative to the package's root, with `/`. */
  readonly path: string;
  readonly content: Uint8Array;
  readonly executable: boolean;
}

const tableField = list(shape({ path: str(MEMBER_PATH_LIMIT), bytes: count(), executable: bool }), PACKAGE_FILES_LIMIT);
/** Length of the table, before it. */
const LENGTH_BYTES = 4;
/** The table beside the contents. */
const TABLE_LIMIT_BYTES = 16_777_216;

const zip = promisify(gzip);
const unzip = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(gunzip);

/** A package: a content hash, and the bytes that travel. */
export interface Package {
  /** SHA-256 (hex) of its table and files: the same files are the same package, whoever packed them, and when. */
  readonly hash: string;
  readonly bytes: Uint8Array;
}

/** @throws WhiprayError `UNSAFE_ARCHIVE`, `PACKAGE_TOO_LARGE` with size and limit. */
export async function packMembers(members: readonly Member[]): Promise<Package> {
  if (members.length > PACKAGE_FILES_LIMIT) throw packageTooLarge("files", members.length, PACKAGE_FILES_LIMIT);
  const sorted = members.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  checkMemberNames(sorted.map(({ path }) => path));
  const contentBytes = sorted.reduce((sum, { content }) => sum + content.length, 0);
  if (contentBytes > UNPACKED_LIMIT_BYTES) throw packageTooLarge("bytes of files", contentBytes, UNPACKED_LIMIT_BYTES);
  const table = encodeControl(
    sorted.map(({ path, content, executable }) => ({ path, bytes: content.length, executable })),
  );
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(table.length);
  const plain = Buffer.concat([length, table, ...sorted.map(({ content }) => content)]);
  const bytes = await zip(plain);
  if (bytes.length > PACKAGE_LIMIT_BYTES) throw packageTooLarge("packed bytes", bytes.length, PACKAGE_LIMIT_BYTES);
  return { hash: sha256(plain), bytes };
}

/**
 * The members of a package, all checked before the first is given.
 * @throws WhiprayError `UNSAFE_ARCHIVE`: names that leave the folder or collide, more than the limits hold, another hash, damage.
 */
export async function openPackage({ hash, bytes }: Package): Promise<Member[]> {
  if (bytes.length > PACKAGE_LIMIT_BYTES)
    throw unsafe(`has ${bytes.length} bytes; the limit is ${PACKAGE_LIMIT_BYTES}`);
  const maxOutputLength = UNPACKED_LIMIT_BYTES + TABLE_LIMIT_BYTES;
  const plain = await unzip(bytes, { maxOutputLength }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ERR_BUFFER_TOO_LARGE") throw unsafe(`has over ${maxOutputLength} bytes when unpacked`);
    throw unsafe(`cannot be unpacked: ${error.message}`);
  });
  if (sha256(plain) !== hash) throw unsafe(`is not the one of hash ${hash}`);
  const tableEnd = plain.length < LENGTH_BYTES ? Infinity : LENGTH_BYTES + plain.readUInt32BE(0);
  if (tableEnd > plain.length) throw unsafe("ends before its table does");
  const rows = tableOf(plain.subarray(LENGTH_BYTES, tableEnd));
  checkMemberNames(rows.map(({ path }) => path));
  let at = tableEnd;
  const members = rows.map(({ path, bytes: size, executable }): Member => {
    const content = plain.subarray(at, at + size);
    at += size;
    return { path, content, executable };
  });
  if (at !== plain.length)
    throw unsafe(`has ${plain.length - tableEnd} bytes of files; its table says ${at - tableEnd}`);
  return members;
}

function tableOf(bytes: Uint8Array): { path: string; bytes: number; executable: boolean }[] {
  try {
    return tableField(decodeControl(bytes), "table");
  } catch (error) {
    throw unsafe(`has a table that cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export function packageTooLarge(what: string, found: number, limit: number): WhiprayError {
  return new WhiprayError({
    code: "PACKAGE_TOO_LARGE",
    message: `a package may have at most ${limit} ${what}; this one has ${found}: leave files out with \`excludes\`, or put data where nodes can read it`,
    details: { what, found, limit },
  });
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

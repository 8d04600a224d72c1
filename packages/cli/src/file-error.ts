import { WhiprayError } from "@whipray/core";

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "this user may not",
  EPERM: "this user may not",
  EROFS: "its file system is read-only",
  ENOSPC: "its disk is full",
  EDQUOT: "this user's share of its disk is full",
  ENOENT: "it is not there, and cannot be made: is its file system read-only?",
  ENOTDIR: "a part of it is a file, and no folder",
  EISDIR: "it is a folder, and no file",
  ENAMETOOLONG: "its path is too long",
  EMFILE: "too many files are open",
};

/** What the file system refused a command, in our words; undefined for any other error. */
export function fileError(error: unknown): WhiprayError | undefined {
  if (!(error instanceof Error) || error instanceof WhiprayError) return undefined;
  const { code = "", syscall, path } = error as NodeJS.ErrnoException;
  if (syscall === undefined || path === undefined) return undefined;
  return new WhiprayError({
    code: "FILE_FAILED",
    message: `${path} cannot be used (${syscall}): ${REASONS[code] ?? "it failed"} (${code}). Whipray's files lie below HOME; WHIPRAY_RUNTIME_DIR and WHIPRAY_STATE_DIR name other folders`,
    details: { path, syscall, errno: code },
    cause: error,
  });
}

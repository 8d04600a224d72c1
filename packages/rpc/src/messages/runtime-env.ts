import { WhiprayError } from "@whipray/core";
import { count, type Field, type Infer, list, oneOf, optional, shape, str } from "../fields.ts";

/** Entries of a list of packages. */
export const PY_MODULES_LIMIT = 64;
export const PY_PACKAGES_LIMIT = 256;
/** Time that a runtime environment may take to be made on a node (Ray: setup_timeout_seconds, 600). */
export const SETUP_TIMEOUT_MS = 600_000;

/** In the head's key-value store: `<hash>` says how many chunks there are, `<hash>/<n>` are they, `<hash>/by/<job or actor>` who needs it. */
export const PACKAGE_NAMESPACE = "whipray.packages";
/** Bytes of one chunk: within what a value of the store may have. */
export const PACKAGE_CHUNK_BYTES = 1_048_576;

const sha256Field: Field<string> = (value, path) => {
  if (typeof value === "string" && /^[0-9a-f]{64}$/.test(value)) return value;
  throw new WhiprayError({
    code: "INVALID_MESSAGE",
    message: `${path} must be a SHA-256 in hex; got ${String(value).slice(0, 80)}`,
    details: { field: path },
  });
};

/** Characters of one requirement. */
export const REQUIREMENT_LIMIT = 1_024;

/** `numpy==2.3.1`: one line, and no option of the tool, which could say where to install, and whom to trust. */
export function isRequirement(text: unknown): text is string {
  return typeof text === "string" && text.length <= REQUIREMENT_LIMIT && /^[^-\s][^\n\r\0]*$/.test(text);
}

const requirementField: Field<string> = (value, path) => {
  if (isRequirement(value)) return value;
  const message = `${path} must be a requirement such as numpy==2.3.1; got ${JSON.stringify(String(value).slice(0, 80))}`;
  throw new WhiprayError({ code: "INVALID_MESSAGE", message, details: { field: path } });
};

/** What a node makes before a worker starts (Ray: runtime_env). Variables are not part of it: they travel as `env`. */
export const runtimeEnvField = shape({
  /** A directory of the caller's, as a package; `origin` is where it lies there: modules below it are found below the copy. */
  workingDir: optional(shape({ hash: sha256Field, origin: str(4_096) })),
  /** Packages whose roots come first in PYTHONPATH. */
  pyModules: optional(list(sha256Field, PY_MODULES_LIMIT)),
  /** Interpreter of engines: a path on the node, or a name in its PATH. */
  python: optional(str(4_096)),
  /** Requirements for an environment of its own. */
  packages: optional(shape({ tool: oneOf("pip", "uv"), list: list(requirementField, PY_PACKAGES_LIMIT) })),
  setupTimeoutMs: count(),
});
export type RuntimeEnvSpec = Infer<typeof runtimeEnvField>;

/** The copy of a working directory on this node. */
export const workingCopyField = shape({ origin: str(4_096), path: str(4_096) });
export type WorkingCopy = Infer<typeof workingCopyField>;

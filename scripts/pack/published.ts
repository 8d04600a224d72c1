/** A package as a stranger gets it. */
export interface Published {
  name: string;
  /** Paths relative to the package. */
  files: readonly string[];
  /** The text of its package.json. */
  manifest: string;
}

/** What a tarball may hold: what runs, its sources for debuggers, the engine host, documents. */
const WANTED = [
  /^(package\.json|LICENSE|[A-Z]+\.md)$/,
  /^dist\/.+\.(js|d\.ts)(\.map)?$/,
  /^src\/.+\.ts$/,
  /^python\/(?!tests\/)[\w/]+\.(py|md)$/,
];
/** Protocols that only this workspace understands. */
const LOCAL = /"(?:workspace|catalog|link|file):/;

/** What is wrong with a package that is about to be published; one sentence each. */
export function faultsOf({ name, files, manifest }: Published): string[] {
  const faults = files
    .filter((path) => !WANTED.some((pattern) => pattern.test(path)))
    .map((path) => `${name}: ${path} must not be published`);
  if (LOCAL.test(manifest)) faults.push(`${name}: package.json has a dependency that only the workspace understands`);
  for (const path of entriesOf(manifest)) {
    if (!files.includes(path)) faults.push(`${name}: package.json points at ${path}, which is not in the package`);
  }
  return faults;
}

/** Every file that `exports` and `bin` name. */
function entriesOf(manifest: string): string[] {
  const { exports, bin } = JSON.parse(manifest) as { exports?: unknown; bin?: unknown };
  return leaves([exports, bin]).map((path) => path.replace(/^\.\//, ""));
}

function leaves(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(leaves) : [];
}

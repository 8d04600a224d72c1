import { scan, type Token } from "./tokens.ts";

/** The text files of a working tree, by path from its root, with `/` between folders. */
export class Tree {
  readonly root: string;
  readonly #texts: Map<string, string>;
  readonly #tokens = new Map<string, Token[]>();

  constructor(texts: Iterable<readonly [path: string, text: string]>, root = "") {
    this.#texts = new Map(texts);
    this.root = root;
  }

  /** Sorted paths of files whose name ends in one of `endings`; all files without endings. */
  paths(...endings: string[]): string[] {
    const all = [...this.#texts.keys()].sort();
    return endings.length === 0 ? all : all.filter((path) => endings.some((ending) => path.endsWith(ending)));
  }

  has(path: string): boolean {
    return this.#texts.has(path);
  }

  text(path: string): string {
    const text = this.#texts.get(path);
    if (text === undefined) throw new Error(`${path} is not in the tree`);
    return text;
  }

  /** Tokens of a TypeScript or JavaScript file, scanned once. */
  tokens(path: string): Token[] {
    let tokens = this.#tokens.get(path);
    if (tokens === undefined) {
      tokens = scan(this.text(path));
      this.#tokens.set(path, tokens);
    }
    return tokens;
  }

  /** The package.json of `folder`, or undefined. @throws SyntaxError when it is not JSON */
  manifest(folder: string): Manifest | undefined {
    const path = folder === "" ? "package.json" : `${folder}/package.json`;
    return this.has(path) ? (JSON.parse(this.text(path)) as Manifest) : undefined;
  }

  /** Names of the folders in `packages/`. */
  packageFolders(): string[] {
    const folders = this.paths("/package.json").map((path) => /^packages\/([^/]+)\/package\.json$/.exec(path)?.[1]);
    return folders.filter((folder) => folder !== undefined);
  }
}

/** The part of package.json that the rules read. */
export interface Manifest {
  name?: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

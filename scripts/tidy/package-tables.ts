import type { Finding, Rule } from "./rule.ts";

/** The tables under "## Packages" in README.md and ARCHITECTURE.md name exactly the folders of packages/. */
export const packageTables: Rule = (tree) => {
  const folders = tree.packageFolders();
  const findings: Finding[] = [];
  for (const file of ["README.md", "ARCHITECTURE.md"]) {
    if (!tree.has(file)) {
      findings.push({ file, message: "is missing" });
      continue;
    }
    const named = packageRows(tree.text(file));
    const lost = folders.filter((folder) => !named.includes(folder));
    const dead = named.filter((name) => !folders.includes(name));
    for (const folder of lost)
      findings.push({ file, message: `the table under "## Packages" lacks packages/${folder}` });
    for (const name of dead)
      findings.push({ file, message: `"## Packages" names packages/${name}, which does not exist` });
  }
  return findings;
};

/** First cells of the table under "## Packages": `` `core` `` or `` [`core`](packages/core) ``. */
function packageRows(markdown: string): string[] {
  const section = /^## Packages\s*$([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(markdown)?.[1] ?? "";
  return [...section.matchAll(/^\|\s*\[?`([\w-]+)`/gm)].map((match) => match[1] ?? "");
}

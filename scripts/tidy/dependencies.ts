import type { Finding, Rule } from "./rule.ts";

/** Every dependency of any package.json is named, with its reason, in ARCHITECTURE.md. */
export const dependencies: Rule = (tree) => {
  const findings: Finding[] = [];
  const text = tree.has("ARCHITECTURE.md") ? tree.text("ARCHITECTURE.md") : "";
  for (const file of tree.paths("package.json").filter((path) => !/(^|\/)(fixtures|data)\//.test(path))) {
    const manifest = tree.manifest(file.replace(/\/?package\.json$/, "")) ?? {};
    const all = {
      ...manifest.devDependencies,
      ...manifest.peerDependencies,
      ...manifest.optionalDependencies,
      ...manifest.dependencies,
    };
    for (const [name, version] of Object.entries(all)) {
      if (version.startsWith("workspace:") || text.includes(`\`${name}\``)) continue;
      findings.push({ file, message: `${name} is not in ARCHITECTURE.md; say there what it is for` });
    }
  }
  return findings;
};

// `npm run check [-- rule …]`: what no compiler checks. Each rule is a file of scripts/tidy/, its exceptions are in tidy.json.
import { fileURLToPath } from "node:url";
import { RULES, tidy } from "./tidy/rules.ts";
import { readTree } from "./tidy/tree.io.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const names = process.argv.slice(2);
const unknown = names.filter((name) => !(name in RULES));
if (unknown.length > 0) {
  console.error(`no rule ${unknown.join(", ")}; there are ${Object.keys(RULES).join(", ")}`);
  process.exit(2);
}
const findings = tidy(readTree(root), names.length > 0 ? names : undefined);
for (const { file, line, rule, message } of findings) {
  console.log(`${file}${line === undefined ? "" : `:${line}`} [${rule}] ${message}`);
}
console.log(findings.length === 0 ? "tidy" : `${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;

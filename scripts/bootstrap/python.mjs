import { existsSync } from "node:fs";
import { join } from "node:path";
import { Complaint } from "./complaint.mjs";
import { inputsHash, stampMatches, writeStamp } from "./stamp.mjs";
import { tool } from "./tool.mjs";

/** Engines run on 3.9 too; the numpy and pytest of the project's own environment need no newer one. */
const OLDEST_PYTHON = { major: 3, minor: 9 };

/** @param {string} root */
const venvPython = (root) => join(root, ".venv", "bin", "python");
/** @param {string} root */
const stampOf = (root) => join(root, ".venv", ".whipray-python");
/** @param {string} root */
const requirements = (root) => join(root, "scripts", "requirements.txt");
/** @param {string} root */
const hashOf = (root) => inputsHash([requirements(root)], [process.platform, process.arch, root]);

/** True when .venv was made from scripts/requirements.txt as it is now. @param {string} root */
export function pythonIsCurrent(root) {
  return existsSync(venvPython(root)) && stampMatches(stampOf(root), hashOf(root));
}

/** @param {string} root */
export async function installPython(root) {
  console.error("whipray: making the Python environment .venv");
  await demandPython();
  const hash = hashOf(root);
  const [python, pip] = await makeVenv(root);
  const install = ["install", "--quiet", "--disable-pip-version-check", "--requirement", requirements(root)];
  // Once without retries first: where pip's settings name a local index beside an unreachable one, retries only cost time.
  const quick = await tool(python, [...pip, ...install, "--retries=0"], { capture: true });
  if (quick.code !== 0 && (await tool(python, [...pip, ...install])).code !== 0) {
    throw new Complaint(
      "installing numpy, msgpack and pytest failed (pip's output is above). Behind a proxy set HTTPS_PROXY or PIP_INDEX_URL.",
    );
  }
  writeStamp(stampOf(root), hash);
}

async function demandPython() {
  const script = "import sys; print('.'.join(map(str, sys.version_info[:3])))";
  const result = await tool("python3", ["-c", script], { capture: true });
  const wanted = `${OLDEST_PYTHON.major}.${OLDEST_PYTHON.minor}`;
  if (result.missing)
    throw new Complaint(`\`python3\` was not found; Python ${wanted} or newer is needed for the engines.`);
  const version = result.output.trim();
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isOld = major < OLDEST_PYTHON.major || (major === OLDEST_PYTHON.major && minor < OLDEST_PYTHON.minor);
  if (result.code !== 0 || isOld)
    throw new Complaint(`\`python3\` is ${version}; Python ${wanted} or newer is needed for the engines.`);
}

/**
 * Makes .venv and answers which pip fills it. Debian splits `ensurepip` off into python3-venv; where it is missing, the
 * system's pip (22.3 or newer) can fill an environment that has none.
 * @param {string} root
 * @returns {Promise<[python: string, pip: string[]]>}
 */
async function makeVenv(root) {
  const target = join(root, ".venv");
  const whole = await tool("python3", ["-m", "venv", "--clear", target], { capture: true });
  if (whole.code === 0) return [venvPython(root), ["-m", "pip"]];
  const outside = ["-m", "pip", "--python", venvPython(root)];
  const bare = await tool("python3", ["-m", "venv", "--clear", "--without-pip", target], { capture: true });
  const usable = bare.code === 0 && (await tool("python3", [...outside, "--version"], { capture: true })).code === 0;
  if (usable) return ["python3", outside];
  throw new Complaint(
    `python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv\n${whole.output.trim()}`,
  );
}

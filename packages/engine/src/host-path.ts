/** Folder of the engine host's Python packages: what a raylet puts last on an engine's PYTHONPATH. */
export function engineHostPath(): URL {
  return new URL("../python/", import.meta.url);
}

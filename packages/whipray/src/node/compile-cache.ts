/** Folder of compiled JavaScript, one a user: starts of workers and threads take a third of the time with it. */
export function compileCache(env: Readonly<Record<string, string | undefined>>, home: string): string {
  return (
    env["NODE_COMPILE_CACHE"] ?? `${env["XDG_CACHE_HOME"] ?? `${env["HOME"] ?? home}/.cache`}/whipray-compile/node`
  );
}

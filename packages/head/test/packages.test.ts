import { kvKeys, kvPut, PACKAGE_NAMESPACE } from "@whipray/rpc";
import { expect, onTestFinished, test } from "vitest";
import { PACKAGE_SWEEP_MS, unneeded } from "../src/package-service.ts";
import { TestCluster } from "./cluster.ts";

const [A, B] = ["a".repeat(64), "b".repeat(64)];

test("a package stays while a job that claimed it is open, or an actor that lives names it", () => {
  const keys = [A, `${A}/0`, `${A}/by/job_1`, `${A}/by/job_2`, B, `${B}/0`];
  const open =
    (...jobs: string[]) =>
    (jobId: string) =>
      jobs.includes(jobId);
  const named =
    (...hashes: string[]) =>
    () =>
      new Set(hashes);
  expect(unneeded(keys, open("job_2"), named())).toEqual([B]);
  expect(unneeded(keys, open(), named(A))).toEqual([B]);
  expect(unneeded(keys, open("job_3"), named())).toEqual([A, B]);
  expect(unneeded([`${A}/by/job_1`], open("job_1"), named())).toEqual([]);
  expect(unneeded([], open(), named())).toEqual([]);
});

test("what an actor ships is its own as long as it lives: it may outlive its job", async () => {
  const cluster = await new TestCluster().start();
  onTestFinished(() => cluster.head.stop());
  const driver = await cluster.driver("d1").open();
  await cluster.node("n", { CPU: 1 });
  const put = (key: string) =>
    driver.head.invoke(kvPut, { namespace: PACKAGE_NAMESPACE, key, value: Buffer.from("1"), overwrite: true });
  const keys = async () => (await driver.head.invoke(kvKeys, { namespace: PACKAGE_NAMESPACE, prefix: "" })).keys.length;
  const actorId = await driver.actor({ CPU: 1 });
  await put(`${A}/by/${actorId}`);
  await cluster.run(PACKAGE_SWEEP_MS + 1_000);
  expect(await keys()).toBe(1);
  await driver.kill(actorId);
  await cluster.run(PACKAGE_SWEEP_MS + 1_000);
  expect(await keys()).toBe(0);
});

test("a detached actor's package outlives the job that brought it, so that it can restart, and goes with the actor", async () => {
  const cluster = await new TestCluster().start();
  onTestFinished(() => cluster.head.stop());
  await cluster.node("n", { CPU: 1 });
  const driver = await cluster.driver("d1").open();
  const other = await cluster.driver("d2").open();
  for (const key of [`${A}/by/${driver.jobId}`, `${A}/0`, A]) {
    const value = Buffer.from("1");
    await driver.head.invoke(kvPut, { namespace: PACKAGE_NAMESPACE, key, value, overwrite: true });
  }
  const runtimeEnv = { workingDir: { hash: A, origin: "/project" }, setupTimeoutMs: 1_000 };
  const actorId = await driver.actor({ CPU: 1 }, { detached: true, name: "a", runtimeEnv });
  await cluster.run(1_000);
  await driver.close();
  const keys = async () => (await other.head.invoke(kvKeys, { namespace: PACKAGE_NAMESPACE, prefix: "" })).keys.length;
  await cluster.run(PACKAGE_SWEEP_MS + 1_000);
  expect(await keys()).toBe(3);
  await other.kill(actorId);
  await cluster.run(PACKAGE_SWEEP_MS + 1_000);
  expect(await keys()).toBe(0);
});

test("the head removes the package of a job that has ended, and leaves the others'", async () => {
  const cluster = await new TestCluster().start();
  onTestFinished(() => cluster.head.stop());
  const ending = await cluster.driver("d1").open();
  const staying = await cluster.driver("d2").open();
  const put = (driver: typeof ending, key: string) =>
    driver.head.invoke(kvPut, { namespace: PACKAGE_NAMESPACE, key, value: Buffer.from("1"), overwrite: true });
  for (const [driver, hash] of [
    [ending, A],
    [staying, B],
  ] as const) {
    await put(driver, `${hash}/by/${driver.jobId}`);
    await put(driver, `${hash}/0`);
    await put(driver, hash);
  }
  const keys = async () => (await staying.head.invoke(kvKeys, { namespace: PACKAGE_NAMESPACE, prefix: "" })).keys;
  await cluster.run(PACKAGE_SWEEP_MS + 1_000);
  expect((await keys()).length).toBe(6);
  await ending.close();
  await cluster.run(PACKAGE_SWEEP_MS + 1_000);
  expect(await keys()).toEqual([B, `${B}/0`, `${B}/by/${staying.jobId}`]);
});

import { WhiprayError } from "@whipray/core";
import { expect, test } from "vitest";
import { countingEcho, net, readText, run, text } from "./wire-pair.ts";

const TOKEN = "token-of-a-door";

/** A driver that comes to an engine by a door. */
function door() {
  const base = net();
  const hellos: string[] = [];
  const engine = base.endpoint("node_b/engine_e", "engine", {
    admit: ({ token }) => {
      hellos.push(token);
      if (token !== TOKEN) throw new WhiprayError({ code: "UNAUTHENTICATED", message: "wrong token" });
    },
  });
  const driver = base.endpoint("node_b/driver_a", "driver");
  const target = { to: "node_b/engine_e", url: "memory:node_b/engine_e", purpose: "data" as const };
  return { ...base, engine, driver, hellos, target };
}

test("a caller says the door's token, never its own", async () => {
  const { clock, engine, driver, hellos, target } = door();
  countingEcho(engine);
  const peer = driver.connect({ ...target, door: TOKEN });
  expect(readText(await run(clock, peer.call("x", text("in"))))).toBe("in");
  expect(hellos).toEqual([TOKEN]);
});

test("a door that does not let in ends the session at once: no second try", async () => {
  const { clock, driver, hellos, target } = door();
  const wrong = driver.connect({ ...target, door: "another" });
  await expect(run(clock, wrong.call("x", []), 5_000)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(hellos).toEqual(["another"]);
  const nobody = driver.connect({ ...target, url: "memory:node_b/nobody", door: TOKEN });
  await expect(run(clock, nobody.call("x", []), 50)).rejects.toMatchObject({ code: "UNREACHABLE" });
});

test("its session ends with its link: what was sent may have run and is not sent again", async () => {
  const { clock, network, engine, driver, target } = door();
  const runs: string[] = [];
  engine.onCall(({ method }) => void runs.push(method));
  const peer = driver.connect({ ...target, door: TOKEN });
  const call = run(clock, peer.call("once", []), 5_000);
  const lost = expect(call).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
  await clock.run(10);
  network.cut(() => true);
  await lost;
  expect([runs, peer.closed]).toEqual([["once"], true]);
});

test("an engine behind a door may only answer: a request of its own ends the link, its OPEN is refused", async () => {
  const { clock, engine, driver, target } = door();
  const asked: string[] = [];
  driver.onCall((call) => {
    asked.push(call.method);
    call.reply(text("secret"));
  });
  engine.onCall((call) => {
    void call.peer.call("$object.get", []).catch(() => {});
  });
  const peer = driver.connect({ ...target, door: TOKEN });
  const lost = expect(run(clock, peer.call("x", []), 5_000)).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
  await lost;
  const again = driver.connect({ ...target, door: TOKEN });
  again.call("stay", []).catch(() => {});
  engine.onCall(() => {});
  await clock.run(10);
  const back = engine.connect({ to: "node_b/driver_a", url: "accepted:node_b/driver_a", purpose: "data" });
  await expect(run(clock, back.call("$object.get", []), 5_000)).rejects.toMatchObject({ code: "FORBIDDEN" });
  expect(asked).toEqual([]);
});

import { test } from "vitest";
import { Chaos } from "./head-chaos.test.ts";
test("dbg", async () => {
  const chaos = new Chaos(Number(process.env.SEED));
  await chaos.begin();
  const { FakePeer } = await import("./fake-net.ts"); const inv = FakePeer.prototype.invoke; FakePeer.prototype.invoke = function (m: any, r: any, o: any) { if (JSON.stringify(r).includes("actor_d6\"")) console.log(chaos.cluster.clock.now(), "INVOKE", m.name, (this as any).address, "d2 ", r.epoch); const p = inv.call(this, m, r, o); if (JSON.stringify(r).includes("actor_d6\"")) p.then((v: any) => console.log(chaos.cluster.clock.now(), "DONE d2 ", m.name, JSON.stringify(v).slice(0,200)), (e: any) => console.log(chaos.cluster.clock.now(), "FAIL d2 ", m.name, String(e))); return p; };
  const wrap = (o: any, name: string) => { const f = o[name].bind(o); o[name] = (...a: any[]) => { console.log(chaos.cluster.clock.now(), name, a.map(String).join(" ")); return f(...a); }; };
  for (const n of ["cut", "heal"]) wrap(chaos.cluster.net, n);
  for (const n of ["killHead"]) wrap(chaos.cluster, n);
  for (let step = 0; step < 50; step++) { 
   for (const r of chaos.raylets) if (!(r as any).w) { (r as any).w = 1; const p = r.log.push.bind(r.log); r.log.push = (...x: string[]) => { console.log(chaos.cluster.clock.now(), r.nodeId, x.join(" ")); return p(...x); }; wrap(r, "register"); wrap(r,"kill"); }
   await chaos.step(); }
  try { await chaos.calm(); await chaos.end(); } catch (e) { console.log(String(e)); }
  for (const r of chaos.raylets) console.log(r.nodeId, r.idle, JSON.stringify(r.view()), [...r.bundles.entries()], [...r.actors.keys()]);
  console.log(JSON.stringify(chaos.cluster.head.status().groups,null,0));
});

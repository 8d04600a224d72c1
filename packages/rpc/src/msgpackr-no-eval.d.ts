/** The decoder alone, which makes no code from strings: a tenth of the time that the whole of msgpackr takes to load. It comes without types. */
declare module "msgpackr/unpack-no-eval" {
  export class Unpackr {
    constructor(options: { useRecords: false; mapsAsObjects: true; int64AsType: "auto" });
    unpack(bytes: Uint8Array): unknown;
  }
}

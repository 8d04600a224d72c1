import { quantile } from "../statistics.ts";
import { judge, type RowResult } from "./measured.ts";
import { HEADLINE, short } from "./table.ts";

const BAR_HEIGHT = 18;
const LABEL_WIDTH = 430;
const PLOT_WIDTH = 420;
const BINS = 40;
/** Bars end here: one row of a million would leave nothing of the others. */
const MOST_DECADES = 4;
export const COLOURS: Readonly<Record<string, string>> = {
  ray: "#b0b7c3",
  "ray prestarted": "#7f8896",
  [HEADLINE]: "#0b7285",
  "whipray embedded": "#66b3c0",
};

/** How many times better than Ray, a bar a row on a logarithmic scale, with the 95 % interval; left of 1 Whipray loses. */
export function ratioBars(results: readonly RowResult[]): string {
  const rows = results.flatMap((result) => {
    const judged = judge(result, HEADLINE) ?? judge(result, "whipray embedded");
    return judged ? [{ name: result.row.name, ratio: judged.ratio }] : [];
  });
  const logs = rows.flatMap(({ ratio }) => [Math.log10(ratio.low), Math.log10(ratio.high)]);
  const right = Math.min(MOST_DECADES, Math.max(1, Math.ceil(Math.max(0, ...logs))));
  const left = Math.max(-MOST_DECADES, Math.min(0, Math.floor(Math.min(0, ...logs))));
  const x = (value: number): number => {
    const log = Math.min(right, Math.max(left, Math.log10(value)));
    return LABEL_WIDTH + ((log - left) / (right - left)) * PLOT_WIDTH;
  };
  const height = (rows.length + 2) * BAR_HEIGHT;
  const grid = Array.from({ length: right - left + 1 }, (_, i) => {
    const value = 10 ** (left + i);
    const at = x(value).toFixed(1);
    return `<line x1="${at}" x2="${at}" y1="${BAR_HEIGHT}" y2="${height}" stroke="${value === 1 ? "#495057" : "#dee2e6"}"/><text x="${at}" y="12" text-anchor="middle">${value}×</text>`;
  });
  const bars = rows.map(({ name, ratio }, i) => {
    const y = (i + 1.2) * BAR_HEIGHT;
    const [from, to] = [x(Math.min(1, ratio.median)), x(Math.max(1, ratio.median))];
    const middle = y + BAR_HEIGHT * 0.35;
    const colour = ratio.median >= 1 ? COLOURS[HEADLINE] : "#c92a2a";
    return [
      `<text x="${LABEL_WIDTH - 8}" y="${middle + 4}" text-anchor="end">${escaped(name)}</text>`,
      `<rect x="${from.toFixed(1)}" y="${y}" width="${Math.max(1, to - from).toFixed(1)}" height="${BAR_HEIGHT * 0.7}" fill="${colour}"/>`,
      `<line x1="${x(ratio.low).toFixed(1)}" x2="${x(ratio.high).toFixed(1)}" y1="${middle}" y2="${middle}" stroke="#212529"/>`,
      `<text x="${(x(Math.max(ratio.high, 1)) + 6).toFixed(1)}" y="${middle + 4}">${short(ratio.median)}×</text>`,
    ].join("");
  });
  return svg("How many times better than Ray", LABEL_WIDTH + PLOT_WIDTH + 80, height, [...grid, ...bars].join(""));
}

/** Where the steps of each column lie, on one logarithmic axis of milliseconds; p50, p99 and p99.9 in words. */
export function stepHistogram(result: RowResult): string {
  const columns = Object.entries(result.columns).filter(([, { stepsMs }]) => stepsMs.length > 1);
  if (columns.length === 0) return "";
  const all = columns.flatMap(([, { stepsMs }]) => stepsMs).filter((ms) => ms > 0);
  const [low, high] = [Math.log10(quantile(all, 0)), Math.log10(quantile(all, 1)) + 1e-9];
  const rowHeight = 46;
  const plots = columns.map(([name, { stepsMs }], i) => {
    const bins = new Array<number>(BINS).fill(0);
    for (const ms of stepsMs)
      bins[Math.min(BINS - 1, Math.max(0, Math.floor(((Math.log10(ms) - low) / (high - low)) * BINS)))]!++;
    const most = Math.max(...bins);
    const base = (i + 1) * rowHeight - 14;
    const bars = bins.map((count, bin) => {
      const height = (count / most) * 28;
      return `<rect x="${150 + bin * 10}" y="${(base - height).toFixed(1)}" width="9" height="${height.toFixed(1)}" fill="${COLOURS[name] ?? "#868e96"}"/>`;
    });
    const words = [0.5, 0.99, 0.999].map((part) => `p${part * 100} ${short(quantile(stepsMs, part))} ms`).join(", ");
    return `<text x="0" y="${base}">${escaped(name)}</text>${bars.join("")}<text x="${160 + BINS * 10}" y="${base}">${words}</text>`;
  });
  const axis = `<text x="150" y="${columns.length * rowHeight + 8}">${short(10 ** low)} ms</text><text x="${150 + BINS * 10}" y="${columns.length * rowHeight + 8}" text-anchor="end">${short(10 ** high)} ms</text>`;
  return svg("How long single calls took", 880, columns.length * rowHeight + 16, plots.join("") + axis);
}

export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function svg(title: string, width: number, height: number, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" font-family="system-ui, sans-serif" font-size="12"><title>${title}</title><rect width="100%" height="100%" fill="#fff"/>${body}</svg>`;
}

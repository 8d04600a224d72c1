/** Smallest segment; objects below the inline limit of results never get one. */
export const SMALLEST_SEGMENT_BYTES = 131_072;

/**
 * Bytes of the segment for an object of `bytes`: four sizes a doubling, so that a segment can serve many objects (fresh pages
 * are ten times slower than warm ones) and wastes at most a quarter.
 */
export function sizeClass(bytes: number): number {
  if (bytes <= SMALLEST_SEGMENT_BYTES) return SMALLEST_SEGMENT_BYTES;
  const step = 2 ** (Math.ceil(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / step) * step;
}

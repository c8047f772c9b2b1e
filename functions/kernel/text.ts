/** The characters of which one half may be part of a pair, or that come after all such in UTF-16. */
const HIGH = /[\ud800-\uffff]/;

/**
 * The order of texts: by code point, as UTF-8 and SQL have it. UTF-16 differs only where half a pair meets one of
 * U+E000 to U+FFFF.
 */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  if (!HIGH.test(a) || !HIGH.test(b)) return a < b ? -1 : 1;
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === length) return a.length - b.length;
  const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)];
  const half = (unit: number) => unit >= 0xd800 && unit <= 0xdfff;
  return half(x) === half(y) || x < 0xd800 || y < 0xd800 ? x - y : half(x) ? 1 : -1;
}

// How long this server took lately, for estimates where the service tells none.

const STORED = "chetko-speed";

/** @returns {Record<string, number>} seconds per megapixel of the result, by model */
function known() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "{}");
  } catch {
    return {};
  }
}

/**
 * @param {string} model
 * @param {number} seconds
 * @param {number} pixels of the result
 */
export function learn(model, seconds, pixels) {
  if (pixels < 1e5) return; // so small that the time says nothing of the pixels
  const speeds = known();
  const now = seconds / (pixels / 1e6);
  speeds[model] = speeds[model] ? (speeds[model] + now) / 2 : now;
  try {
    localStorage.setItem(STORED, JSON.stringify(speeds));
  } catch {
    // Then there is no estimate next time.
  }
}

/** @param {string} model */
export const secondsPerMegapixel = (model) => known()[model] ?? null;

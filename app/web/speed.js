// How long this server took lately, for estimates where the service tells none.

const STORED = "chetko-speed";

/** @returns {Record<string, number>} seconds per megapixel of a network's output, by network */
function known() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "{}");
  } catch {
    return {};
  }
}

/**
 * A network's name: a model's x2 and x4 take different times for a pixel.
 *
 * @param {string} model
 * @param {number} scale
 */
const network = (model, scale) => `${model}/x${scale}`;

/**
 * @param {string} model
 * @param {number} scale of its network
 * @param {number} seconds
 * @param {number} pixels that the network gave
 */
export function learn(model, scale, seconds, pixels) {
  if (pixels < 1e5) return; // so small that the time says nothing of the pixels
  const speeds = known();
  const now = seconds / (pixels / 1e6);
  const name = network(model, scale);
  speeds[name] = speeds[name] ? (speeds[name] + now) / 2 : now;
  try {
    localStorage.setItem(STORED, JSON.stringify(speeds));
  } catch {
    // Then there is no estimate next time.
  }
}

/** @param {string} model @param {number} scale */
export const secondsPerMegapixel = (model, scale) => known()[network(model, scale)] ?? null;

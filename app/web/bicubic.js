// Bicubic resizing as other programs do it: Keys' kernel with a = -0.5, antialiased when it shrinks, rows first, rounded
// to 8 bit between the two passes. Equals Pillow's BICUBIC to one level, which the tests compare.

const A = -0.5;

/** @param {number} distance in source pixels */
function kernel(distance) {
  const x = Math.abs(distance);
  if (x < 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * A;
  return 0;
}

/**
 * For each of `to` output places: its first source place, and the weights from there on (which sum to 1).
 *
 * @param {number} from
 * @param {number} to
 */
function taps(from, to) {
  const ratio = from / to;
  const stretch = Math.max(1, ratio);
  const radius = 2 * stretch;
  const count = Math.ceil(radius) * 2 + 1;
  const first = new Int32Array(to);
  const length = new Int32Array(to);
  const weights = new Float32Array(to * count);
  for (let place = 0; place < to; place++) {
    const centre = (place + 0.5) * ratio;
    const start = Math.max(0, Math.floor(centre - radius + 0.5));
    const end = Math.min(from, Math.floor(centre + radius + 0.5));
    let sum = 0;
    for (let at = start; at < end; at++) {
      const weight = kernel((at + 0.5 - centre) / stretch);
      weights[place * count + at - start] = weight;
      sum += weight;
    }
    for (let at = start; at < end; at++) weights[place * count + at - start] /= sum;
    first[place] = start;
    length[place] = end - start;
  }
  return { first, length, weights, count };
}

/**
 * RGBA pixels of another size. Colours of transparent pixels do not bleed: alpha is multiplied in meanwhile.
 *
 * @param {Uint8ClampedArray} pixels width x height x RGBA
 * @param {number} width
 * @param {number} height
 * @param {number} toWidth
 * @param {number} toHeight
 * @returns {Uint8ClampedArray<ArrayBuffer>} toWidth x toHeight x RGBA
 */
export function bicubic(pixels, width, height, toWidth, toHeight) {
  const opaque = isOpaque(pixels);
  const channels = opaque ? 3 : 4;
  const source = opaque ? pixels : premultiplied(pixels);
  const wide = new Uint8ClampedArray(toWidth * height * 4);
  const across = taps(width, toWidth);
  for (let y = 0; y < height; y++) {
    const row = y * width * 4;
    for (let x = 0; x < toWidth; x++) {
      const start = row + across.first[x] * 4;
      const taken = across.length[x];
      const weight = x * across.count;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let tap = 0; tap < taken; tap++) sum += across.weights[weight + tap] * source[start + tap * 4 + channel];
        wide[(y * toWidth + x) * 4 + channel] = sum;
      }
    }
  }
  const large = new Uint8ClampedArray(toWidth * toHeight * 4);
  const down = taps(height, toHeight);
  const stride = toWidth * 4;
  for (let y = 0; y < toHeight; y++) {
    const start = down.first[y] * stride;
    const taken = down.length[y];
    const weight = y * down.count;
    for (let x = 0; x < toWidth; x++) {
      for (let channel = 0; channel < channels; channel++) {
        const at = x * 4 + channel;
        let sum = 0;
        for (let tap = 0; tap < taken; tap++) sum += down.weights[weight + tap] * wide[start + tap * stride + at];
        large[y * stride + at] = sum;
      }
      if (opaque) large[y * stride + x * 4 + 3] = 255;
    }
  }
  if (!opaque) divideByAlpha(large);
  return large;
}

/** @param {Uint8ClampedArray} pixels */
function isOpaque(pixels) {
  for (let at = 3; at < pixels.length; at += 4) if (pixels[at] !== 255) return false;
  return true;
}

/** @param {Uint8ClampedArray} pixels */
function premultiplied(pixels) {
  const result = new Uint8ClampedArray(pixels.length);
  for (let at = 0; at < pixels.length; at += 4) {
    const alpha = pixels[at + 3];
    for (let channel = 0; channel < 3; channel++) result[at + channel] = (pixels[at + channel] * alpha) / 255;
    result[at + 3] = alpha;
  }
  return result;
}

/** @param {Uint8ClampedArray} pixels changed in place */
function divideByAlpha(pixels) {
  for (let at = 0; at < pixels.length; at += 4) {
    const alpha = pixels[at + 3];
    if (alpha === 0 || alpha === 255) continue;
    for (let channel = 0; channel < 3; channel++) pixels[at + channel] = (pixels[at + channel] * 255) / alpha;
  }
}

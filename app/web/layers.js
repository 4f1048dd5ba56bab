// Pictures that a canvas can show at any zoom: whole bitmaps with their halves, and tiles that come from the service.

/** @typedef {import("./types.js").Area} Area */
/** @typedef {import("./types.js").View} View */

const CACHED_TILES = 32; // of 512 x 512: 1 MB each; twice of what is seen, where that is more
const FETCHES = 4; // at once; browsers allow six connections, and events need theirs

/**
 * The level to draw at this zoom: the smallest one that still has a pixel for every pixel of the canvas.
 *
 * @param {number} zoom
 * @param {number} levels
 */
function levelFor(zoom, levels) {
  return Math.max(0, Math.min(levels - 1, Math.floor(Math.log2(1 / zoom) + 1e-6)));
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Area} clip
 * @param {number} zoom canvas pixels per pixel of what is drawn
 */
function begin(context, clip, zoom) {
  context.save();
  context.beginPath();
  context.rect(clip.left, clip.top, clip.width, clip.height);
  context.clip();
  context.imageSmoothingEnabled = zoom < 0.999;
  // Better than "low" only below a half, where levels end, and dear: the browser halves every tile once more for it.
  context.imageSmoothingQuality = zoom < 0.5 ? "medium" : "low";
}

/** A picture in memory. */
export class BitmapLayer {
  /** @type {(() => void) | null} */
  onmore = null;

  /** @param {import("./types.js").Levels} picture */
  constructor({ width, height, levels }) {
    this.width = width;
    this.height = height;
    this.levels = levels;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {View} view
   * @param {Area} area
   * @param {Area} clip
   */
  draw(context, view, area, clip) {
    const bitmap = this.levels[levelFor(view.zoom, this.levels.length)];
    const across = bitmap.width / this.width;
    const down = bitmap.height / this.height;
    // Only what is seen, cut at whole pixels of the bitmap, so that they stay where they are while panning.
    const left = Math.max(0, Math.floor((view.x + (clip.left - area.left) / view.zoom) * across) - 1);
    const top = Math.max(0, Math.floor((view.y + (clip.top - area.top) / view.zoom) * down) - 1);
    const right = Math.min(bitmap.width, Math.ceil((view.x + (clip.left + clip.width - area.left) / view.zoom) * across) + 1);
    const bottom = Math.min(bitmap.height, Math.ceil((view.y + (clip.top + clip.height - area.top) / view.zoom) * down) + 1);
    if (right <= left || bottom <= top) return;
    begin(context, clip, view.zoom / across);
    context.drawImage(
      bitmap,
      left,
      top,
      right - left,
      bottom - top,
      area.left + (left / across - view.x) * view.zoom,
      area.top + (top / down - view.y) * view.zoom,
      ((right - left) / across) * view.zoom,
      ((bottom - top) / down) * view.zoom,
    );
    context.restore();
  }

  close() {
    for (const level of this.levels) level.close();
    this.levels = [];
    this.draw = () => undefined;
  }
}

/** A picture too large to be held: the service cuts it into tiles, and only those that are seen are fetched. */
export class TileLayer {
  /** Tiles in memory, of all layers. */
  static held = 0;

  /** @type {(() => void) | null} */
  onmore = null;
  /** @type {Map<string, ImageBitmap>} the least lately drawn first */
  #tiles = new Map();
  /** @type {Map<string, AbortController>} */
  #under = new Map();
  /** @type {Set<string>} tiles that failed; asked for again only after the view changed */
  #failed = new Set();
  /** How many tiles the last drawings were made of. */
  #seen = 0;
  /** @type {string[]} what the last drawing missed, the middle first */
  #missed = [];
  #closed = false;

  /**
   * @param {import("./types.js").TileIndex} index
   * @param {(level: number, column: number, row: number) => string} address
   */
  constructor(index, address) {
    this.width = index.width;
    this.height = index.height;
    this.edge = index.tile;
    this.levels = index.levels;
    this.address = address;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {View} view
   * @param {Area} area
   * @param {Area} clip
   */
  draw(context, view, area, clip) {
    if (this.#closed) return;
    const level = levelFor(view.zoom, this.levels);
    const edge = this.edge * 2 ** level; // of a tile, in pixels of the picture
    const [columns, rows] = [Math.ceil(this.width / edge), Math.ceil(this.height / edge)];
    const left = Math.max(0, Math.floor((view.x + (clip.left - area.left) / view.zoom) / edge));
    const top = Math.max(0, Math.floor((view.y + (clip.top - area.top) / view.zoom) / edge));
    const right = Math.min(columns, Math.ceil((view.x + (clip.left + clip.width - area.left) / view.zoom) / edge));
    const bottom = Math.min(rows, Math.ceil((view.y + (clip.top + clip.height - area.top) / view.zoom) / edge));
    // The loupe draws a few only, in between: what was seen counts less from drawing to drawing, and not at once nothing.
    this.#seen = Math.max(Math.max(0, right - left) * Math.max(0, bottom - top), 0.9 * this.#seen);
    begin(context, clip, view.zoom * 2 ** level);
    /** @type {string[]} */
    const missed = [];
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        if (!this.#drawTile(context, view, area, level, column, row)) missed.push(`${level}/${column}/${row}`);
      }
    }
    context.restore();
    const coarsest = `${this.levels - 1}/0/0`; // stands in for all others, so it comes first
    if (!this.#tiles.has(coarsest)) missed.unshift(coarsest);
    this.#missed = missed;
    this.#forget();
    this.#fetchMore();
  }

  /**
   * Draws the tile, or the part of a coarser one that lies there; tells whether it was the tile itself.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {View} view
   * @param {Area} area
   * @param {number} level
   * @param {number} column
   * @param {number} row
   */
  #drawTile(context, view, area, level, column, row) {
    const edge = this.edge * 2 ** level;
    const x = column * edge;
    const y = row * edge;
    const width = Math.min(edge, this.width - x);
    const height = Math.min(edge, this.height - y);
    // Whole canvas pixels: neighbours then share their border, and no seam shows.
    const left = Math.round(area.left + (x - view.x) * view.zoom);
    const top = Math.round(area.top + (y - view.y) * view.zoom);
    const right = Math.round(area.left + (x + width - view.x) * view.zoom);
    const bottom = Math.round(area.top + (y + height - view.y) * view.zoom);
    for (let coarser = level; coarser < this.levels; coarser++) {
      const step = 2 ** (coarser - level);
      const key = `${coarser}/${Math.floor(column / step)}/${Math.floor(row / step)}`;
      const tile = this.#tiles.get(key);
      if (!tile) continue;
      this.#tiles.delete(key);
      this.#tiles.set(key, tile);
      const shrunk = 2 ** coarser;
      const insideX = x / shrunk - Math.floor(column / step) * this.edge;
      const insideY = y / shrunk - Math.floor(row / step) * this.edge;
      context.drawImage(
        tile,
        insideX,
        insideY,
        Math.max(0.5, Math.min(width / shrunk, tile.width - insideX)),
        Math.max(0.5, Math.min(height / shrunk, tile.height - insideY)),
        left,
        top,
        right - left,
        bottom - top,
      );
      return coarser === level;
    }
    return false;
  }

  #forget() {
    for (const [key, tile] of this.#tiles) {
      if (this.#tiles.size <= Math.max(CACHED_TILES, 2 * this.#seen)) return;
      if (key === `${this.levels - 1}/0/0`) continue;
      tile.close();
      this.#tiles.delete(key);
      TileLayer.held--;
    }
  }

  #fetchMore() {
    for (const [key, controller] of this.#under) if (!this.#missed.includes(key)) controller.abort();
    for (const key of this.#missed) {
      if (this.#under.size >= FETCHES) return;
      if (!this.#under.has(key) && !this.#failed.has(key)) void this.#fetch(key);
    }
  }

  /** @param {string} key */
  async #fetch(key) {
    const controller = new AbortController();
    this.#under.set(key, controller);
    const [level, column, row] = key.split("/").map(Number);
    try {
      const response = await fetch(this.address(level, column, row), { signal: controller.signal });
      if (!response.ok) throw new Error(`tile ${key}: ${response.status}`);
      const tile = await createImageBitmap(await response.blob());
      if (this.#closed) tile.close();
      else {
        this.#tiles.set(key, tile);
        TileLayer.held++;
      }
    } catch {
      if (!controller.signal.aborted) {
        this.#failed.add(key);
        setTimeout(() => {
          this.#failed.delete(key);
          this.onmore?.();
        }, 3000);
      }
    }
    this.#under.delete(key);
    if (!this.#closed) this.onmore?.();
  }

  close() {
    this.#closed = true;
    for (const controller of this.#under.values()) controller.abort();
    for (const tile of this.#tiles.values()) tile.close();
    TileLayer.held -= this.#tiles.size;
    this.#tiles.clear();
  }
}

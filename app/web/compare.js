// "Compare all": what is in the middle of the viewer, through every model, beside the bicubic enlargement.

import { ProblemError, enlargePiece } from "./api.js";
import { announce, byId } from "./dom.js";
import { TEXT, chosen, problemText, secondsText } from "./i18n.js";
import { modelScale } from "./options.js";
import { UndecodableError, bicubicOf, cropOf } from "./pictures.js";
import { Strip, pendingPanel } from "./strip.js";

const WIDTH = 104; // source pixels of the region
const HEIGHT = 78;
const MARGIN = 24; // more than any model's halo: the region then comes out as in the whole picture

export class Compare {
  strip = new Strip(byId("compare-strip"));
  /** @type {AbortController | null} */
  #running = null;

  /**
   * @param {import("./showing.js").Showing} showing
   * @param {import("./options.js").Options} options
   */
  constructor(showing, options) {
    this.showing = showing;
    this.options = options;
    this.strip.onpick = (left, right) => showing.pair(left, right);
    byId("compare-close").addEventListener("click", () => this.close());
  }

  close() {
    this.#running?.abort();
    this.strip.clear();
    byId("compare").hidden = true;
  }

  async start() {
    this.close();
    const words = TEXT().compare;
    byId("compare").hidden = false;
    byId("compare").scrollIntoView({ block: "nearest" });
    const running = new AbortController();
    this.#running = running;
    const say = (/** @type {string} */ text) => {
      byId("compare-status").textContent = text;
    };
    const { source, stage } = this.showing;
    byId("compare-actions").replaceChildren();
    say(words.preparing);
    try {
      const file = await this.showing.sourceFile();
      if (!file || !source) return say(words.noSource);
      const model = this.options.model;
      const factor = stage.looking.width / source.width;
      const area = regionOf(stage.looking.seen(), factor, source);
      const scale = model ? modelScale(model, { ...this.options.choice, scale: Math.round(factor) || 4 }) : 4;
      await this.#run(file, area, source, scale, running.signal, say);
      announce(words.done);
      byId("compare").scrollIntoView({ block: "nearest" });
      say(words.hint);
      const name = `${source.name.replace(/\.[^.]*$/, "")}_compare.png`;
      byId("compare-actions").replaceChildren(...this.strip.buttons(name, say, this.showing.card?.job?.id ?? null));
    } catch (failure) {
      if (failure instanceof ProblemError) say(problemText(failure.problem));
      else if (failure instanceof UndecodableError) say(words.undecodable);
      else if (!(failure instanceof DOMException && failure.name === "AbortError")) throw failure;
    }
  }

  /**
   * @param {Blob} file
   * @param {import("./types.js").Area} area of the source
   * @param {{ width: number, height: number }} whole
   * @param {number} scale
   * @param {AbortSignal} signal
   * @param {(words: string) => void} say
   */
  async #run(file, area, whole, scale, signal, say) {
    const words = TEXT().compare;
    const outer = withMargin(area, whole);
    const piece = await cropOf(file, outer);
    const inner = {
      left: (area.left - outer.left) * scale,
      top: (area.top - outer.top) * scale,
      width: area.width * scale,
      height: area.height * scale,
    };
    const cut = (/** @type {ImageBitmapSource} */ large) =>
      createImageBitmap(large, inner.left, inner.top, inner.width, inner.height);
    const bicubic = await bicubicOf(piece, outer.width * scale, outer.height * scale);
    signal.throwIfAborted();
    this.strip.add({ label: TEXT().stage.bicubic, caption: words.others, image: await cut(bicubic.levels[0]) });
    for (const level of bicubic.levels) level.close();
    const models = this.options.compared.filter((model) => model.scales.some((each) => each.scale === scale));
    for (const model of models) {
      const label = chosen(model.title);
      say(words.running({ name: label }));
      const pending = pendingPanel(label);
      this.strip.place.append(pending);
      const began = performance.now();
      try {
        const large = await enlargePiece(piece, model.name, scale, signal);
        const seconds = (performance.now() - began) / 1000;
        const image = await cut(large);
        pending.remove();
        if (signal.aborted) return image.close();
        this.strip.add({ label, caption: secondsText(seconds), image });
      } catch (failure) {
        pending.remove();
        if (!(failure instanceof ProblemError)) throw failure;
        say(`${label}: ${problemText(failure.problem)}`);
      }
    }
    const best = this.strip.panels.length - 1;
    const chosenOne = models.findIndex((model) => model === this.options.model) + 1;
    this.strip.pick(0);
    this.strip.pick(chosenOne > 0 ? chosenOne : best);
  }
}

/**
 * The region of the source in the middle of what is seen.
 *
 * @param {import("./types.js").Area} seen in pixels of the result
 * @param {number} factor
 * @param {{ width: number, height: number }} source
 */
function regionOf(seen, factor, source) {
  const width = Math.min(WIDTH, source.width);
  const height = Math.min(HEIGHT, source.height);
  const middle = { x: (seen.left + seen.width / 2) / factor, y: (seen.top + seen.height / 2) / factor };
  return {
    left: Math.round(Math.min(source.width - width, Math.max(0, middle.x - width / 2))),
    top: Math.round(Math.min(source.height - height, Math.max(0, middle.y - height / 2))),
    width,
    height,
  };
}

/** @param {import("./types.js").Area} area @param {{ width: number, height: number }} whole */
function withMargin(area, whole) {
  const left = Math.max(0, area.left - MARGIN);
  const top = Math.max(0, area.top - MARGIN);
  return {
    left,
    top,
    width: Math.min(whole.width, area.left + area.width + MARGIN) - left,
    height: Math.min(whole.height, area.top + area.height + MARGIN) - top,
  };
}

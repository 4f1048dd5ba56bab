// "Test it on a sharp picture": it is shrunk, every model restores it, and the results are measured against the original.

import { ProblemError, evaluate } from "./api.js";
import { announce, byId, inputById, make } from "./dom.js";
import { TEXT, chosen, numberText, problemText, secondsText } from "./i18n.js";
import { Strip } from "./strip.js";

/** @typedef {import("./types.js").EvaluatedMethod} Method */

const MOST_MODELS = 8; // that the service takes at once; baselines are the first to be left out
const PANEL = 416; // pixels: wider pictures are shown by a region of this size in the middle

export class Evaluate {
  strip = new Strip(byId("evaluate-strip"));
  /** @type {AbortController | null} */
  #running = null;
  /** Of the picture whose strip is shown. */
  #name = "";
  /** @type {import("./types.js").Evaluation | null} */
  #shown = null;

  /**
   * @param {import("./showing.js").Showing} showing
   * @param {import("./options.js").Options} options
   */
  constructor(showing, options) {
    this.options = options;
    this.strip.onpick = (left, right, byUser) => {
      showing.pair(left, right, () => TEXT().evaluate.heading({ name: this.#name }));
      if (byUser) byId("stage").scrollIntoView({ block: "nearest" });
    };
    inputById("evaluate-file").addEventListener("change", () => {
      const [file] = inputById("evaluate-file").files ?? [];
      inputById("evaluate-file").value = "";
      if (file) void this.start(file);
    });
    byId("evaluate-example").addEventListener("click", async () => {
      const blob = await (await fetch("/static/examples/dog.jpg")).blob();
      void this.start(new File([blob], "dog.jpg", { type: blob.type }));
    });
    byId("evaluate-cancel").addEventListener("click", () => this.#running?.abort());
  }

  /** @param {File} file */
  async start(file) {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    this.strip.clear();
    this.#name = file.name;
    this.#shown = null;
    this.#render();
    const say = (/** @type {string} */ words) => {
      byId("evaluate-status").textContent = words;
    };
    byId("evaluate-actions").replaceChildren();
    byId("evaluate-working").hidden = false;
    say(TEXT().evaluate.running({ name: file.name }));
    try {
      const scale = Number(inputById("evaluate-scale").value);
      const models = this.options.compared
        .filter((model) => model.scales.some((each) => each.scale === scale))
        .slice(-MOST_MODELS);
      const answer = await evaluate(file, { scale, models: models.map((model) => model.name), signal: running.signal });
      await this.#panels(answer, running.signal);
      this.#shown = answer;
      this.#render();
      say(TEXT().evaluate.done({ name: file.name, scale }));
      announce(TEXT().evaluate.done({ name: file.name, scale }));
      const name = `${file.name.replace(/\.[^.]*$/, "")}_test_x${scale}.png`;
      byId("evaluate-actions").replaceChildren(...this.strip.buttons(name, say));
    } catch (failure) {
      if (failure instanceof ProblemError) say(problemText(failure.problem));
      else if (failure instanceof DOMException && failure.name === "AbortError") say(TEXT().card.cancelled);
      else throw failure;
    } finally {
      if (this.#running === running) byId("evaluate-working").hidden = true;
    }
  }

  /**
   * @param {import("./types.js").Evaluation} answer
   * @param {AbortSignal} signal
   */
  async #panels(answer, signal) {
    const { original } = answer;
    for (const method of answer.methods) {
      const image = await middleOf(method.image, signal);
      this.strip.add({ label: titleOf(method), caption: numbersOf(method), image });
    }
    const image = await middleOf(typeof original === "string" ? original : original.image, signal);
    this.strip.add({ label: TEXT().evaluate.original, caption: TEXT().evaluate.truth, image });
    const chosenOne = answer.methods.findIndex((method) => method.name === this.options.model?.name);
    this.strip.pick(chosenOne < 0 ? answer.methods.length - 1 : chosenOne);
    this.strip.pick(answer.methods.length);
  }

  renewTexts() {
    this.#render();
  }

  #render() {
    const place = byId("evaluate-table");
    const words = TEXT().evaluate;
    if (!this.#shown) return place.replaceChildren();
    const { methods } = this.#shown;
    const best = {
      psnr: Math.max(...methods.map((each) => each.psnr ?? -Infinity)),
      ssim: Math.max(...methods.map((each) => each.ssim ?? -Infinity)),
      lpips: Math.min(...methods.map((each) => each.lpips ?? Infinity)),
    };
    const head = make("tr", "", ...[words.method, `PSNR, ${TEXT().decibels}`, "SSIM", "LPIPS", words.time].map((each) => headCell(each, "col")));
    const rows = methods.map((method) => {
      const cell = (/** @type {"psnr" | "ssim" | "lpips"} */ measure, /** @type {number} */ digits) => {
        const value = method[measure];
        const node = make("td", "", value === undefined || value === null ? "–" : numberText(value, digits));
        if (value === best[measure]) node.className = "best";
        return node;
      };
      const time = make("td", "", method.seconds ? secondsText(method.seconds) : "–");
      return make("tr", "", headCell(titleOf(method), "row"), cell("psnr", 2), cell("ssim", 4), cell("lpips", 4), time);
    });
    const table = make("div", "scrolls", make("table", "", make("thead", "", head), make("tbody", "", ...rows)));
    table.tabIndex = 0; // so that the keyboard can scroll it where it is wider than the page
    table.role = "group";
    table.ariaLabel = words.title;
    place.replaceChildren(table, make("p", "hint", words.meaning));
  }
}

/** @param {string} words @param {"col" | "row"} scope */
function headCell(words, scope) {
  const node = make("th", "", words);
  node.scope = scope;
  return node;
}

/** @param {Method} method */
const titleOf = (method) => (method.title ? chosen(method.title) : method.name);

/** @param {Method} method */
function numbersOf({ psnr, lpips }) {
  const parts = [];
  if (psnr !== undefined && psnr !== null) parts.push(`${numberText(psnr, 2)} ${TEXT().decibels}`);
  if (lpips !== undefined && lpips !== null) parts.push(`LPIPS ${numberText(lpips, 3)}`);
  return parts.join(" · ");
}

/**
 * Its middle, at most PANEL wide and high.
 *
 * @param {string} address a link or a data: URL
 * @param {AbortSignal} signal
 */
async function middleOf(address, signal) {
  const whole = await createImageBitmap(await blobOf(address, signal));
  const width = Math.min(PANEL, whole.width);
  const height = Math.min(PANEL, whole.height);
  const part = await createImageBitmap(whole, Math.floor((whole.width - width) / 2), Math.floor((whole.height - height) / 2), width, height);
  whole.close();
  return part;
}

/** @param {string} address @param {AbortSignal} signal */
async function blobOf(address, signal) {
  if (!address.startsWith("data:")) return (await fetch(address, { signal })).blob();
  // Not by fetch: the page's policy lets it connect to the service only.
  const [head, data] = address.split(",", 2);
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

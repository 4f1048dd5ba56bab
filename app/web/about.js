// What it is, in numbers: the table of models, and the command for what was just done.

import { byId, make } from "./dom.js";
import { TEXT, chosen, numberText } from "./i18n.js";

/** @typedef {import("./types.js").Model} Model */

const SETS = ["Set5", "Set14", "BSD100"];

/** @param {Model[]} models */
export function renderTable(models) {
  const words = TEXT().about;
  const head = make("tr", "");
  for (const title of [words.model, words.scale, ...SETS.map((set) => `${set}, ${TEXT().decibels}`), "LPIPS", words.parameters, words.licence]) {
    const cell = make("th", "", title);
    cell.scope = "col";
    head.append(cell);
  }
  const rows = models.flatMap((model) =>
    model.scales.map((entry) => {
      const title = make("th", "", chosen(model.title));
      title.scope = "row";
      const psnr = SETS.map((set) => numberOr(entry.measured[set]?.psnr, 2));
      const cells = [
        `${entry.scale}×`,
        ...psnr,
        numberOr(entry.measured.Set14?.lpips, 3),
        numberText(entry.parameters),
        model.licence,
      ];
      return make("tr", "", title, ...cells.map((each) => make("td", "", each)));
    }),
  );
  byId("about-table").replaceChildren(make("table", "", make("thead", "", head), make("tbody", "", ...rows)));
}

/** @param {number | undefined} value @param {number} digits */
const numberOr = (value, digits) => (value === undefined ? "–" : numberText(value, digits));

/** @param {string} command */
export function renderCommand(command) {
  byId("curl").textContent = command;
}

export function listenCopy() {
  const copy = byId("curl-copy");
  copy.addEventListener("click", async () => {
    const words = TEXT().about;
    try {
      await navigator.clipboard.writeText(byId("curl").textContent ?? "");
      byId("curl-status").textContent = words.copied;
    } catch {
      getSelection()?.selectAllChildren(byId("curl"));
      byId("curl-status").textContent = words.selectThis;
    }
  });
}

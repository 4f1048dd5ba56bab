// What happens on the page: a picture is chosen, sent, compared, saved.

import { ProblemError, listModels, upscale } from "./api.js";
import { applyLanguage, bytesText, currentLanguage, problemText, setLanguage, text } from "./i18n.js";
import { renewTexts as renewViewer, show } from "./viewer.js";

const element = (id) => document.getElementById(id);
const [form, file, drop, model, status, error] = ["form", "file", "drop", "model", "status", "error"].map(element);

let picture = null; // the File that was chosen
let models = [];
let running = null; // AbortController of the request under way
let sayStatus = () => ""; // makes the status line again when the language changes
let sayError = null;
let sayFacts = null;
let addresses = []; // object URLs to give back

function render() {
  status.textContent = sayStatus();
  error.hidden = !sayError;
  error.textContent = sayError ? sayError() : "";
  element("facts").textContent = sayFacts ? sayFacts() : "";
  element("working").hidden = !running;
  element("start").disabled = !picture || !model.value || Boolean(running);
  if (picture) {
    element("drop-title").textContent = text("chosen", { name: picture.name || "…", size: bytesText(picture.size) });
  }
  renderModels();
}

function renderModels() {
  const chosen = model.value;
  const language = currentLanguage();
  model.replaceChildren(...models.map((each) => new Option(each.title[language], each.name)));
  if (chosen) model.value = chosen;
  const current = models.find((each) => each.name === model.value);
  element("model-text").textContent = current ? current.description[language] : "";
  const scales = current ? current.scales.map((each) => String(each.scale)) : [];
  const radios = [...form.elements.scale];
  for (const radio of radios) radio.disabled = current !== undefined && !scales.includes(radio.value);
  if (radios.some((radio) => radio.checked && radio.disabled)) {
    const possible = radios.find((radio) => !radio.disabled);
    if (possible) possible.checked = true;
  }
}

function choose(chosen) {
  if (!chosen) return;
  if (chosen.type && !chosen.type.startsWith("image/")) {
    sayError = () => text("error.not_a_picture");
    render();
    return;
  }
  picture = chosen;
  sayError = null;
  const preview = element("preview");
  preview.onload = () => (preview.hidden = false);
  preview.onerror = () => (preview.hidden = true);
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(chosen);
  render();
}

async function start() {
  const sent = picture;
  const began = performance.now();
  running = new AbortController();
  sayError = null;
  element("result").hidden = true;
  setProgress(0);
  render();
  try {
    const scale = form.elements.scale.value;
    const result = await upscale(sent, { model: model.value, scale }, { onSent: setProgress, signal: running.signal });
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    await showResult(sent, result);
    sayStatus = () => text("done", { seconds: Number(seconds).toLocaleString(currentLanguage()) });
  } catch (failure) {
    sayStatus = () => "";
    if (failure instanceof ProblemError) sayError = () => problemText(failure.problem);
    else if (failure.name === "AbortError") sayStatus = () => text("cancelled");
    else throw failure;
  } finally {
    running = null;
    render();
  }
}

function setProgress(share) {
  const bar = element("progress");
  if (share < 1) {
    bar.value = share;
    sayStatus = () => text("uploading", { percent: Math.round(share * 100) });
  } else {
    bar.removeAttribute("value"); // sent; how long the rest takes is not known
    sayStatus = () => text("enlarging");
  }
  status.textContent = sayStatus();
}

async function showResult(sent, { blob, name, model: used, notices }) {
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [sent, blob].map((each) => URL.createObjectURL(each));
  const link = element("download");
  link.href = addresses[1];
  link.download = name;
  element("result").hidden = false;
  const size = await show(...addresses);
  sayFacts = () => {
    const lines = notices.map((notice) => text(`notice.${notice}`) ?? notice);
    if (size) lines.unshift(text("facts", { ...size, size: bytesText(blob.size), model: used }));
    else lines.unshift(text("noPreview"));
    return lines.join(" · ");
  };
  render();
  element("result").scrollIntoView({ block: "nearest" });
}

async function loadModels() {
  try {
    models = await listModels();
    sayError = null;
  } catch (failure) {
    if (!(failure instanceof ProblemError)) throw failure;
    sayError = () => problemText(failure.problem);
    // The page may be open before the models are: ask again.
    if (failure.problem.code === "not_ready") setTimeout(loadModels, 1000);
  }
  render();
}

function firstPicture(transfer) {
  return [...(transfer?.files ?? [])][0];
}

file.addEventListener("change", () => choose(file.files[0]));
model.addEventListener("change", render);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (picture && !running) start();
});
element("cancel").addEventListener("click", () => running?.abort());
document.addEventListener("paste", (event) => choose(firstPicture(event.clipboardData)));
// The whole window takes a drop: a miss by an inch must not make the browser leave the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  choose(firstPicture(event.dataTransfer));
});
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    setLanguage(button.dataset.language);
    renewViewer();
    render();
  });
}

applyLanguage();
render();
loadModels();

// Before and after in one box, with a divider that is a range input: mouse, touch and arrow keys all work.

import { text } from "./i18n.js";

const box = document.getElementById("viewer");
const before = document.getElementById("before");
const after = document.getElementById("after");
const slider = document.getElementById("slider");

function place() {
  box.style.setProperty("--split", `${slider.value}%`);
  slider.setAttribute("aria-valuetext", text("percent", { value: slider.value }));
}

slider.addEventListener("input", place);

export const renewTexts = place;

// Shows two pictures by their addresses. The browser enlarges the first one smoothly to the size of the second.
// Resolves to the size of the second, or to null when the browser cannot show this format.
export async function show(beforeUrl, afterUrl) {
  before.src = beforeUrl;
  after.src = afterUrl;
  slider.value = 50;
  place();
  try {
    await Promise.all([before.decode(), after.decode()]);
  } catch {
    box.hidden = true;
    return null;
  }
  box.hidden = false;
  box.style.maxWidth = `min(100%, ${after.naturalWidth}px)`;
  box.style.aspectRatio = `${after.naturalWidth} / ${after.naturalHeight}`;
  return { width: after.naturalWidth, height: after.naturalHeight };
}

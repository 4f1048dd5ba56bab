// Where the service wants a key: asks for it once. What stays is a cookie that scripts cannot read; the key is nowhere kept.

import { ProblemError, gate, signIn } from "./api.js";
import { byId, inputById } from "./dom.js";
import { TEXT, problemText } from "./i18n.js";

const dialog = /** @type {HTMLDialogElement} */ (byId("session"));
const field = inputById("key");
const error = byId("key-error");
/** @type {Promise<boolean> | null} one question for all calls that wait for it */
let asking = null;

gate.ask = () => (asking ??= ask().finally(() => (asking = null)));

/** @returns {Promise<boolean>} whether the user is signed in now */
function ask() {
  error.hidden = true;
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    const form = /** @type {HTMLFormElement} */ (byId("session-form"));
    const finish = (/** @type {boolean} */ signedIn) => {
      field.value = "";
      form.onsubmit = dialog.onclose = byId("session-cancel").onclick = null;
      if (dialog.open) dialog.close();
      resolve(signedIn);
    };
    dialog.onclose = () => finish(false);
    byId("session-cancel").onclick = () => finish(false);
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await signIn(field.value.trim());
        finish(true);
      } catch (failure) {
        if (!(failure instanceof ProblemError)) throw failure;
        error.textContent = failure.problem.status === 401 ? TEXT().session.wrong : problemText(failure.problem);
        error.hidden = false;
        field.select();
      }
    };
  });
}

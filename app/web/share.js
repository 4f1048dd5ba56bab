// Links that show a picture to whoever has them.

import { ProblemError } from "./api.js";
import { TEXT, locale, problemText } from "./i18n.js";

/**
 * Puts a new link on the clipboard; where the browser does not allow that, it is said.
 *
 * @param {() => Promise<import("./types.js").Share>} ask
 * @param {(words: string) => void} say
 */
export async function copyLink(ask, say) {
  try {
    const { url, expires_at: until } = await ask();
    const link = new URL(url, location.href).href;
    const date = new Date(until).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "short" });
    try {
      await navigator.clipboard.writeText(link);
      say(TEXT().stage.shared({ date }));
    } catch {
      say(`${link} (${TEXT().stage.sharedUntil({ date })})`);
    }
  } catch (failure) {
    if (!(failure instanceof ProblemError)) throw failure;
    say(problemText(failure.problem));
  }
}

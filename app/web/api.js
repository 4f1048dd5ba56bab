// The calls of the page to the service.

// What the service refused, or that it could not be reached: carries a problem document (RFC 9457).
export class ProblemError extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.code);
    this.problem = problem;
  }
}

export async function listModels() {
  let response;
  try {
    response = await fetch("/v1/models");
  } catch {
    throw new ProblemError({ code: "unreachable" });
  }
  if (!response.ok) throw new ProblemError(await problemOf(response.status, () => response.json()));
  return (await response.json()).models;
}

// Sends a picture. `onSent` is told the share of it that has left, 0..1. Resolves to {blob, name, model, notices};
// rejects with ProblemError, or with an AbortError once `signal` is aborted.
// XMLHttpRequest, because fetch does not tell how much of a body has been sent.
export function upscale(file, { model, scale, format }, { onSent, signal }) {
  return new Promise((resolve, reject) => {
    const body = new FormData();
    body.append("image", file, file.name || "picture");
    const query = new URLSearchParams({ model, scale });
    if (format) query.set("format", format);
    const request = new XMLHttpRequest();
    request.open("POST", `/v1/upscale?${query}`);
    request.responseType = "blob";
    request.upload.onprogress = (event) => onSent(event.total ? event.loaded / event.total : 0);
    request.upload.onload = () => onSent(1);
    request.onerror = () => reject(new ProblemError({ code: "unreachable" }));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = async () => {
      if (request.status !== 200) {
        reject(new ProblemError(await problemOf(request.status, async () => JSON.parse(await request.response.text()))));
        return;
      }
      resolve({
        blob: request.response,
        name: fileName(request.getResponseHeader("Content-Disposition") ?? ""),
        model: request.getResponseHeader("X-Chetko-Model") ?? "",
        notices: (request.getResponseHeader("X-Chetko-Notice") ?? "").split(",").map((each) => each.trim()).filter(Boolean),
      });
    };
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

async function problemOf(status, read) {
  try {
    return { status, ...(await read()) };
  } catch {
    return { status };
  }
}

// RFC 6266: the name in UTF-8 wins over the plain one.
function fileName(disposition) {
  const full = /filename\*=UTF-8''([^;]+)/i.exec(disposition);
  if (full) return decodeURIComponent(full[1]);
  return /filename="([^"]*)"/i.exec(disposition)?.[1] ?? "picture";
}

// The server: JSON in and out, and the events of one request.

async function refusal(response) {
  let message = `the server answered ${response.status}`;
  try {
    const text = await response.text();
    message = text.startsWith("{") ? JSON.parse(text).message : text.trim() || message;
  } catch {
    // the status says enough
  }
  return new Error(message);
}

export async function get(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

function post(path, value, signal) {
  const headers = { "content-type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(value), signal });
}

/** The segments of a question's prompt. */
export async function spansOf(question) {
  const response = await post("/api/spans", question);
  if (!response.ok) throw await refusal(response);
  return response.json();
}

export const stop = (job) => post(`/api/answers/${job}/stop`, {});

/** Ask, and yield every event as it comes. Aborting the signal ends the request. */
export async function* answers(question, signal) {
  const response = await post("/api/answers", question, signal);
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const line = block.split("\n").find((one) => one.startsWith("data: "));
      if (line) yield JSON.parse(line.slice(6));
    }
  }
}

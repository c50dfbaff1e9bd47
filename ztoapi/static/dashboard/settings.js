// The configuration, as `ztoapi check` prints it. It is fetched when it is opened.

import { ask } from "./access.js";
import { byId, el, setText } from "./dom.js";
import { say } from "./language.js";

export function watchSettings() {
  const details = byId("settings");
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    const response = await ask("admin/config", { cache: "no-store" }).catch(() => null);
    const page = response?.ok ? await response.json().catch(() => null) : null;
    setText(byId("settings-text"), page?.text ?? say("settings.failed"));
    byId("settings-warnings").replaceChildren(...(page?.warnings ?? []).map((warning) => el("li", {}, warning)));
  });
}

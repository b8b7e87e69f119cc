"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  const stored = (() => { try { return localStorage.getItem("fairlead-theme"); } catch { return null; } })();
  if (stored) root.dataset.theme = stored;
  document.querySelector("[data-theme-toggle]").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("fairlead-theme", root.dataset.theme); } catch { /* private window: forgotten at the next load */ }
  });

  // The page is written for one address; show the one it was loaded from.
  const written = document.querySelector("[data-base]")?.dataset.base;
  if (written && location.protocol.startsWith("http") && written !== location.origin) {
    all("pre").forEach((pre) => { pre.textContent = pre.textContent.replaceAll(written, location.origin); });
  }

  all(".tabs").forEach((tabs) => {
    const buttons = all("button", tabs);
    const choose = (button) => buttons.forEach((other) => {
      const chosen = other === button;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    });
    buttons.forEach((button, index) => {
      button.addEventListener("click", () => choose(button));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = buttons[(index + step + buttons.length) % buttons.length];
        choose(next);
        next.focus();
      });
    });
  });

  all(".copy").forEach((button) => button.addEventListener("click", async () => {
    const pre = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }));

  const pretty = (text) => {
    try {
      return JSON.stringify(JSON.parse(text), null, 2).replace(/\[\s+([^[\]{}]*?)\s+\]/g, (_, inner) => `[${inner.replace(/,\s+/g, ", ")}]`);
    } catch { return text; }
  };

  all("form.try").forEach((form) => form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const send = form.querySelector(".send");
    const outcome = form.querySelector(".outcome");
    const reply = form.querySelector(".reply");
    const shown = (...parts) => outcome.replaceChildren(...parts.filter(Boolean).map(([text, kind]) => {
      const span = document.createElement("span");
      span.textContent = text;
      if (kind) span.className = kind;
      return span;
    }));
    send.disabled = true;
    const started = performance.now();
    try {
      const response = await fetch(form.dataset.path, { method: "POST", headers: { "content-type": "application/json" }, body: form.elements.body.value });
      const text = await response.text();
      const timing = response.headers.get("server-timing");
      const version = response.headers.get("fairlead-version");
      shown(
        [`${response.status} ${response.statusText}`.trim(), response.ok ? "ok" : "no"],
        [`${(performance.now() - started).toFixed(1)} ms here`],
        timing && [`server: ${timing}`],
        version && [`version ${version}`],
      );
      reply.querySelector("pre").textContent = pretty(text);
      reply.hidden = false;
    } catch (error) {
      shown([`no answer: ${error.message}`, "no"]);
      reply.hidden = true;
    } finally {
      send.disabled = false;
    }
  }));

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("form.try textarea")) {
      event.target.form.requestSubmit();
    }
  });
})();

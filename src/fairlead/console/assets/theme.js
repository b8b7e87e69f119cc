// Before the first paint: the theme that was chosen here, else the system's.
(function () {
  "use strict";
  try {
    const chosen = localStorage.getItem("fairlead-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (_) { /* no storage: the system decides */ }
})();

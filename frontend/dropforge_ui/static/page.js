() => {
  const root = document.body;
  const kept = localStorage.getItem("dropforge-look");
  const show = (look) => root.classList.toggle("dark", look === "dark");
  const system = matchMedia("(prefers-color-scheme: dark)");
  show(kept || (system.matches ? "dark" : "light"));
  system.addEventListener("change", (e) => { if (!localStorage.getItem("dropforge-look")) show(e.matches ? "dark" : "light"); });
  // Gradio names its upload buttons otherwise than they read, so that who speaks to the page cannot press them: the text is the name.
  const named = () => document.querySelectorAll(".df-drop button[aria-label]").forEach((b) => b.removeAttribute("aria-label"));
  named();
  new MutationObserver(named).observe(root, { childList: true, subtree: true, attributeFilter: ["aria-label"] });
  document.addEventListener("click", (e) => {
    if (!e.target.closest("[data-look]")) return;
    const look = root.classList.contains("dark") ? "light" : "dark";
    localStorage.setItem("dropforge-look", look);
    show(look);
  });
}

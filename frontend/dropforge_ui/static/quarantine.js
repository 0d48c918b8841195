// Marks what was changed, and hands the changed rows over; a surplus field that was emptied is gone.
element.addEventListener("input", (event) => {
  const row = event.target.closest("tr[data-line]");
  if (row) row.classList.add("changed");
});
const send = () => {
  const rows = [...element.querySelectorAll("tr.changed[data-line]")].map((row) => ({
    line: Number(row.dataset.line),
    cells: [
      ...row.querySelectorAll("input:not([data-surplus])"),
      ...[...row.querySelectorAll("input[data-surplus]")].filter((field) => field.value !== ""),
    ].map((field) => field.value),
  }));
  trigger("submit", { rows });
};
element.addEventListener("click", (event) => {
  if (event.target.closest("[data-send]")) send();
});
element.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input")) { event.preventDefault(); send(); }
});

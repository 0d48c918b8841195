for (const head of document.querySelectorAll("table.sortable th button")) {
  head.addEventListener("click", () => {
    const cell = head.parentElement, body = cell.closest("table").tBodies[0];
    const down = cell.getAttribute("aria-sort") === "descending";
    const value = row => row.cells[cell.cellIndex].dataset.v ?? row.cells[cell.cellIndex].textContent;
    const compare = (a, b) => {
      const x = value(a), y = value(b), p = parseFloat(x), q = parseFloat(y);
      return isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q;
    };
    const rows = [...body.rows].sort(compare);
    if (!down) rows.reverse();
    for (const other of cell.parentElement.cells) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "ascending" : "descending");
    body.append(...rows);
  });
}

for (const tools of document.querySelectorAll(".tools")) {
  const [search, ...selects] = tools.querySelectorAll("input, select"), status = tools.querySelector("[role=status]");
  const items = [...document.querySelectorAll("[data-column]")], cards = items.filter(i => i.matches(".card"));
  const filter = () => {
    const words = search.value.trim().toLowerCase();
    for (const item of items) {
      const fits = item.dataset.column.includes(words) && selects.every(s => !s.value || [item.dataset.outcome, item.dataset.kind].includes(s.value));
      item.classList.toggle("off", !fits);
    }
    const shown = cards.filter(c => !c.matches(".off")).length;
    status.textContent = shown === cards.length ? "" : `${shown} of ${cards.length} columns`;
  };
  tools.hidden = false;
  tools.addEventListener("input", filter);
  for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => {
    search.value = "";
    for (const s of selects) s.value = "";
    filter();
  });
}
for (const button of document.querySelectorAll("button.copy")) {
  const block = button.nextElementSibling;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(block.textContent); } catch {
      getSelection().selectAllChildren(block);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
  });
}
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-pick]");
  if (button && element.contains(button)) trigger("select", { pick: button.dataset.pick });
});

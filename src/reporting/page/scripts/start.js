// Show the interactive parts; without scripts the static figures and tables stay.
const start = async () => {
  document.documentElement.classList.add("interactive");
  startControls();
  listeners.push(drawTable, drawCard);
  drawTable();
  await startCharts();
  change({ focus: [...data.champions, ...models.keys()].find(scoresOf) });
  startAnswers();
  await startHeat();
  document.documentElement.dataset.ready = "yes";
};
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
start();

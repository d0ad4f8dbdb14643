// Heat maps of the weights: a measure and a subject are chosen, pointing at a cell reads it out.
const heatBlock = read("heat");
const ofMeasure = measure => heatBlock.maps.filter(one => one.measure === measure);
const heatCells = one => {
  const kinds = new Map(heatBlock.kinds.map((kind, i) => [kind, i])), layers = new Map(heatBlock.layers.map((layer, i) => [layer, i]));
  const sorted = [...one.cells].sort((a, b) => layers.get(a[0]) - layers.get(b[0]) || kinds.get(a[1]) - kinds.get(b[1]));
  return sorted.map(([layer, kind, value, low, high]) => ({
    layer, kind, value, inside: low !== null && low <= value && value <= high,
    spoken: `${layer}, ${kind}: ${value}` + (low === null ? "" : `; unrelated updates would give ${low} to ${high}`),
  }));
};
const colorScale = one => {
  const values = one.cells.map(cell => cell[2]);
  if (one.middle === null) return { scheme: "viridis", domain: [0, Math.max(...values, 1e-9)] };
  const reach = Math.max(...values.map(value => Math.abs(value - one.middle)), 1e-9);
  return { scheme: "blueorange", domain: [one.middle - reach, one.middle + reach] };
};
const drawHeat = async () => {
  const measure = document.getElementById("measure").value, subject = document.getElementById("subject").value;
  const one = ofMeasure(measure).find(each => each.subject === subject) ?? ofMeasure(measure)[0];
  const spec = read("heat-spec");
  spec.layer[0].encoding.color.scale = colorScale(one);
  spec.encoding.y.sort = heatBlock.layers;
  spec.encoding.x.sort = heatBlock.kinds;
  const view = await embed("heat-map", spec);
  put(view, "cells", heatCells(one));
  view.addEventListener("pointermove", (event, item) => {
    if (item?.datum?.spoken) document.getElementById("heat-cell").textContent = item.datum.spoken;
  });
  await view.runAsync();
  const ringed = one.cells.some(cell => cell[3] !== null);
  document.getElementById("heat-note").textContent = one.note + (ringed ? " A ring marks cells that 95% of unrelated updates would give too." : "");
  document.getElementById("heat-cell").textContent = `${one.label}, ${one.subject}`;
};
const fillSubjects = () => {
  const found = ofMeasure(document.getElementById("measure").value).map(one => [one.subject, one.subject]);
  fill(document.getElementById("subject"), found, found[0][0]);
};
const startHeat = async () => {
  const place = document.getElementById("heat-maps");
  if (!place || !heatBlock.maps.length) return;
  place.hidden = false;
  const measures = new Map(heatBlock.maps.map(one => [one.measure, one.label]));
  fill(document.getElementById("measure"), [...measures], [...measures.keys()][0]);
  fillSubjects();
  document.getElementById("measure").addEventListener("change", () => { fillSubjects(); drawHeat(); });
  document.getElementById("subject").addEventListener("change", drawHeat);
  await drawHeat();
};

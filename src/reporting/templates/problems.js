const cards = [...document.querySelectorAll(".card")];
const texts = cards.map(card => card.textContent.toLowerCase());
const search = document.getElementById("search");
const count = document.getElementById("count");
const tell = () => {
  const shown = cards.filter(card => card.checkVisibility()).length;
  count.textContent = `${shown} of ${cards.length} shown`;
};
const apply = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  cards.forEach((card, i) => card.classList.toggle("unmatched", !words.every(word => texts[i].includes(word))));
  tell();
};
const fold = open => cards.forEach(card => { if (card.checkVisibility()) card.open = open; });
document.getElementById("tools").hidden = false;
document.querySelector(".filters").addEventListener("change", tell);
document.querySelector(".filters").addEventListener("submit", event => event.preventDefault());
document.getElementById("unfold").addEventListener("click", () => fold(true));
document.getElementById("fold").addEventListener("click", () => fold(false));
search.addEventListener("input", apply);
apply();

// Sets formulas and draws the live charts (chart.js).

function setFormulas() {
  for (const tex of document.querySelectorAll(".tex"))
    katex.render(tex.textContent, tex, { displayMode: "display" in tex.dataset, throwOnError: false, errorColor: "#b04a00" });
}

// nbconvert makes every cell a tab stop. Only what scrolls needs to be one.
function keepUsefulTabStops(root) {
  for (const part of root.querySelectorAll(".jp-Cell-inputWrapper[tabindex], .jp-OutputArea-output[tabindex]"))
    if (part.scrollWidth <= part.clientWidth && part.scrollHeight <= part.clientHeight) part.removeAttribute("tabindex");
  for (const formula of root.querySelectorAll(".tex[data-display]"))
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
}

// Fonts are fetched when something is laid out in them, and what is measured before they are there is wrong.
async function fontsLoaded() {
  document.body.getBoundingClientRect();
  await document.fonts.ready;
}

async function start() {
  setFormulas();
  await drawCharts();
  await fontsLoaded();
  keepUsefulTabStops(document);
}

document.addEventListener("DOMContentLoaded", () => start().then(() => document.body.classList.add("ready")));

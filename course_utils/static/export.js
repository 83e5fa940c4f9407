// Sets formulas, draws the live charts (chart.js) and, in a deck, cuts long slides at their cells and starts reveal.js.
const WIDTH = 1280, HEIGHT = 720, ROOM = 660;  // of a slide, and what its cells may take of its height
const ENLARGED = 1.5;  // how much larger a chart may become on a slide

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

// A chart is made for a page; on a slide it takes the room that there is, its sliders below or beside it.
function enlarge(chart) {
  const most = ROOM - 60;
  if (tall(chart) > most) chart.classList.add("beside");
  const { width, height } = chart.getBoundingClientRect();
  chart.style.zoom = Math.min(Math.max(Math.min(1164 / width, most / height), 0.7), ENLARGED);
}

const tall = (part) => part.getBoundingClientRect().height;

function cutSlides(slides) {
  for (const fragment of slides.querySelectorAll(".fragment"))
    if (tall(fragment) > ROOM) fragment.replaceWith(...fragment.children);
  for (const cell of slides.querySelectorAll("section > section > .jp-CodeCell")) {  // what a cell shows on a slide of its own
    const output = cell.querySelector(":scope > .jp-Cell-outputWrapper");
    if (output && tall(cell) > ROOM) {
      const rest = cell.cloneNode(false);
      rest.removeAttribute("id");
      rest.append(output);
      cell.after(rest);
    }
  }
  for (const slide of slides.querySelectorAll("section > section")) {
    const cells = [...slide.children].map((cell) => ({ cell, height: tall(cell) }));
    let page = slide, used = 0;
    cells.forEach(({ cell, height }, i) => {
      if (used > 0 && used + height > ROOM) {
        const before = cells[i - 1];  // a heading goes with what it heads
        const heads = before.cell.querySelector(".jp-MarkdownOutput > :first-child:is(h2, h3, h4)");
        const along = heads && before.cell !== page.firstElementChild && before.height + height <= ROOM;
        page.after(page = document.createElement("section"));
        used = along ? before.height : 0;
        if (used) page.append(before.cell);
      }
      if (page !== slide) page.append(cell);
      used += height;
    });
  }
  for (const slide of slides.querySelectorAll("section > section")) {
    if (slide.firstElementChild?.matches(".fragment")) slide.firstElementChild.classList.remove("fragment");  // no empty slide first
    if (slide.scrollHeight > HEIGHT) slide.tabIndex = 0;
  }
}

// The keys that turn the page first scroll a slide that is longer than the screen; a control keeps its own keys.
function turnsThePage(event) {
  if (event.target.closest("input, button, select, textarea, summary, audio, .Quiz")) return false;
  const down = ["ArrowDown", "PageDown", " "].includes(event.key) && !event.shiftKey, up = ["ArrowUp", "PageUp"].includes(event.key);
  const slide = Reveal.getCurrentSlide();
  const left = down ? slide.scrollHeight - slide.clientHeight - slide.scrollTop : up ? slide.scrollTop : 0;
  if (left < 2) return true;
  slide.scrollBy({ top: (down ? 1 : -1) * 0.8 * slide.clientHeight });
  event.preventDefault();
  return false;
}

// Fonts are fetched when something is laid out in them, and what is measured before they are there is wrong.
async function fontsLoaded() {
  document.body.getBoundingClientRect();
  await document.fonts.ready;
}

async function start() {
  setFormulas();
  const slides = document.querySelector(".reveal .slides");
  if (!slides) {
    await drawCharts();
    await fontsLoaded();
    keepUsefulTabStops(document);
    return;
  }
  // A slide is enlarged to fill the screen: draw its canvases with as many pixels as that takes.
  const ratio = window.devicePixelRatio;
  const sharpen = (scale) => (window.devicePixelRatio = ratio * ENLARGED * Math.min(Math.max(scale, 1), 2));
  sharpen(Math.min(innerWidth / WIDTH, innerHeight / HEIGHT));
  document.body.classList.add("measuring");
  const views = await drawCharts();
  await fontsLoaded();
  slides.querySelectorAll(".chart").forEach(enlarge);
  cutSlides(slides);
  keepUsefulTabStops(slides);
  document.body.classList.remove("measuring");
  await Reveal.initialize({
    width: WIDTH, height: HEIGHT, margin: 0, maxScale: 3, center: false, hash: true, transition: "none", slideNumber: "c/t",
    keyboardCondition: turnsThePage, plugins: [RevealNotes],
  });
  Reveal.on("resize", ({ scale }) => {
    sharpen(scale);
    views.forEach((view) => view.resize().runAsync());
  });
}

document.addEventListener("DOMContentLoaded", () => start().then(() => document.body.classList.add("ready")));

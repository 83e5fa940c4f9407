// A deck: sets formulas, draws the live charts (chart.js) as large as there is room, starts reveal.js, shows the code.
const WIDTH = 1280, HEIGHT = 720, BESIDE = 330;  // BESIDE: what sliders beside a chart need
let enlarged = 1;  // by how much the largest chart is

function setFormulas() {
  for (const tex of document.querySelectorAll(".tex"))
    katex.render(tex.textContent, tex, { displayMode: "display" in tex.dataset, throwOnError: false, errorColor: "#b04a00" });
}

// A chart is made for a page. On a slide its sliders stand below or beside it, whichever leaves it larger.
function fit(figure) {
  const chart = figure.querySelector(".chart"), canvas = chart.querySelector("canvas");
  let controls = chart.querySelector("form");
  if (!controls) chart.append(controls = document.createElement("div"));
  controls.prepend(figure.querySelector(".said"));
  const room = figure.getBoundingClientRect(), { width, height } = canvas.getBoundingClientRect();
  const below = Math.min(room.width / width, (room.height - controls.getBoundingClientRect().height) / height);
  const beside = Math.min((room.width - BESIDE) / width, room.height / height);
  const sideways = 1.1 * beside > below;  // which also leaves no room empty
  chart.classList.toggle("beside", sideways);
  let scale = (sideways ? beside : below) * 0.99;
  canvas.style.zoom = scale;
  // Many sliders need a wider column, which is a shorter one.
  while (sideways && controls.scrollHeight > room.height && scale > 0.6 * beside) canvas.style.zoom = scale *= 0.97;
  enlarged = Math.max(enlarged, scale);
}

// Fonts are fetched when something is laid out in them, and what is measured before they are there is wrong.
async function fontsLoaded() {
  document.body.getBoundingClientRect();
  await document.fonts.ready;
}

// A control keeps its own keys; an open dialog keeps all.
function turnsThePage(event) {
  return !document.querySelector("dialog[open]") && !event.target.closest("input, button, select, textarea, summary, audio");
}

function prepareCode() {
  const button = document.getElementById("show-code"), dialog = document.getElementById("code");
  const template = () => Reveal.getCurrentSlide().querySelector("template.behind");
  const show = () => {
    if (!template() || dialog.open) return;
    const code = dialog.querySelector(".behind");
    code.replaceChildren(template().content.cloneNode(true));
    dialog.showModal();
    code.scrollTop = 0;
    code.focus();
  };
  const update = () => { button.hidden = !template(); };
  button.addEventListener("click", show);
  Reveal.addKeyBinding({ keyCode: 67, key: "C", description: "The code behind the slide" }, show);
  Reveal.on("slidechanged", update);
  update();
}

async function start() {
  setFormulas();
  // A slide is enlarged to fill the screen: draw its canvases with as many pixels as that takes.
  const ratio = window.devicePixelRatio;
  const sharpen = (scale) => (window.devicePixelRatio = ratio * enlarged * Math.min(Math.max(scale, 1), 2));
  document.body.classList.add("all-slides");
  const views = await drawCharts();
  await fontsLoaded();
  document.querySelectorAll(".live-chart").forEach(fit);
  document.body.classList.remove("all-slides");
  await Reveal.initialize({
    width: WIDTH, height: HEIGHT, margin: 0, minScale: 0.1, maxScale: 3, center: false, display: "flex", hash: true, transition: "none",
    slideNumber: "c/t", pdfMaxPagesPerSlide: 1, keyboardCondition: turnsThePage, plugins: [RevealNotes],
  });
  const redraw = (scale) => {
    sharpen(scale);
    return Promise.all(views.map((view) => view.resize().runAsync()));
  };
  await redraw(Reveal.getScale());
  Reveal.on("resize", ({ scale }) => redraw(scale));
  prepareCode();
}

document.addEventListener("DOMContentLoaded", () => start().then(() => document.body.classList.add("ready")));

// Sets the formulas and draws the live charts (chart.js) of a page. The body gets the class "ready" when all is there.
function setFormulas() {
  for (const tex of document.querySelectorAll(".tex"))
    katex.render(tex.textContent, tex, { displayMode: "display" in tex.dataset, throwOnError: false, errorColor: "#b04a00" });
}

// What scrolls must be reachable by keyboard, and nothing else needs to be a tab stop.
function scrollByKeyboard() {
  for (const part of document.querySelectorAll("pre, .live-chart, .tex[data-display], .cell_output .output, .pst-scrollable-table-container"))
    if (part.scrollWidth > part.clientWidth + 1) part.tabIndex = 0;
    else if (part.getAttribute("tabindex") === "0") part.removeAttribute("tabindex");
}

// Names and roles that the theme leaves out, and no minutes beside a heading in the side bar.
function nameTheFrame() {
  for (const more of document.querySelectorAll(".bd-sidebar summary")) more.ariaLabel = "Pages below this one";
  document.querySelector(".navbar-brand")?.parentElement.setAttribute("role", "banner");
  for (const link of document.querySelectorAll(".bd-toc a"))
    if (/[●○]{3}/.test(link.textContent)) link.textContent = link.textContent.replace(/\s*[●○]{3}.*$/s, "");
}

// Paper is white: the light theme while a page is printed.
function printLight() {
  const page = document.documentElement.dataset, paper = matchMedia("print");
  let before = null;  // the theme on the screen, while it is printed
  const turn = (printing) => {
    if (printing && before === null) [before, page.theme] = [page.theme, "light"];
    if (!printing && before !== null) [page.theme, before] = [before, null];
  };
  paper.addEventListener("change", () => turn(paper.matches));
  addEventListener("beforeprint", () => turn(true));
  addEventListener("afterprint", () => turn(false));
}

// From a disk a browser may not read other pages: search then shows titles without their first lines.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

document.addEventListener("DOMContentLoaded", async () => {
  nameTheFrame();
  printLight();
  setFormulas();
  if (document.querySelector(".live-chart")) await drawCharts();
  await document.fonts.ready;
  scrollByKeyboard();
  addEventListener("resize", scrollByKeyboard);
  document.body.classList.add("ready");
});

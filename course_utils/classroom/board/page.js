// Draws what the server's stream tells. Every text is set as text, never as HTML.
const byId = (id) => document.getElementById(id);
let course = null, rows = {};

function element(tag, name, ...content) {
  const made = document.createElement(tag);
  made.className = name;
  made.append(...content);
  return made;
}

// `code` in backquotes is shown as code, as under a check.
const inline = (text) => text.split("`").map((part, i) => (i % 2 ? element("code", "", part) : part));

function card(name) {
  const [tried, passed, mistakes] = rows[name], fill = element("i", "");
  fill.style.width = `${(100 * passed) / tried}%`;
  const bar = element("div", "bar", fill);
  const items = mistakes.map(([made, says, later]) =>
    element("li", "", element("b", "", `${made} of ${tried}`),
      element("span", "", ...inline(says), ...(later ? [element("span", "later", ...inline(later))] : []))));
  const title = element("h3", "", element("code", "", name.split(".")[1]), element("span", "", `${passed} of ${tried} passed`));
  return element("article", "", title, bar, items.length ? element("ul", "", ...items) : element("p", "untried", "No mistake that the course knows."));
}

function draw() {
  const chosen = byId("book").value, shown = [];
  for (const [topic, title] of Object.entries(course.books)) {
    const names = course.exercises.filter((name) => name.startsWith(`${topic}.`));
    const tried = names.filter((name) => name in rows), untried = names.filter((name) => !(name in rows));
    if (!tried.length) continue;
    if (!byId(`of-${topic}`)) {
      const option = new Option(title, topic);
      option.id = `of-${topic}`;
      byId("book").append(option);
    }
    if (chosen && chosen !== topic) continue;
    const left = untried.length ? [element("p", "untried", `Not tried yet: ${untried.map((name) => name.split(".")[1]).join(", ")}`)] : [];
    shown.push(element("section", "", element("h2", "", title), element("div", "cards", ...tried.map(card)), ...left));
  }
  if (shown.length) byId("books").replaceChildren(...shown);
}

function listen() {
  const stream = new EventSource(`live${location.search}`);
  stream.onmessage = ({ data }) => {
    const told = JSON.parse(data);
    if (told.join) {  // the whole state: at the start, and when the connection is there again
      course = told;
      rows = {};
      byId("join").textContent = told.join;
    }
    Object.assign(rows, told.rows);
    byId("students").textContent = told.students;
    byId("state").textContent = "";
    draw();
  };
  stream.onerror = () => (byId("state").textContent = "Not connected: these are the last counts. Has the class ended?");
}

byId("book").onchange = draw;
byId("advice").onclick = ({ target }) => target.setAttribute("aria-pressed", document.body.classList.toggle("advice"));
byId("theme").onclick = () => {
  const root = document.documentElement, dark = getComputedStyle(root).colorScheme === "dark";
  root.dataset.theme = dark ? "light" : "dark";
};
listen();

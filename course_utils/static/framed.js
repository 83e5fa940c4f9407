// A chart's own frame, in an output: unpacks Vega, draws, and gives the frame the height of what is in it.
async function start() {
  const packed = Uint8Array.from(atob(document.getElementById("vega").textContent), (letter) => letter.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);
  await drawCharts();
}

function fit() {
  if (window.frameElement) frameElement.style.height = `${Math.ceil(document.body.getBoundingClientRect().height)}px`;
}

start()
  .catch((error) => {  // a browser without DecompressionStream: the words are left
    console.error(error);
    document.querySelector("details").open = true;
  })
  .then(() => document.body.classList.add("ready"));
new ResizeObserver(fit).observe(document.body);

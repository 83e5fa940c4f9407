"""What a slide must be, asked of all slides of a deck at once in a browser; what a page must refuse."""

# With the class "all-slides" on its body a deck shows all its slides one below the other at 1280 by 720. Smaller text
# than 24 pixels have only: what belongs to a chart or a picture (labels, sliders, its title), captions (sources,
# units), code and printed text (at least 20), indices in formulas, and what stands around the slide.
FAULTS = """() => {
    const found = [], small = '.live-chart, .caption, .katex .sizing, .katex .mtight, svg';
    document.querySelectorAll('.slides > section').forEach((slide, i) => {
        const box = slide.getBoundingClientRect(), say = (what) => found.push(`slide ${i + 1}: ${what}`);
        const content = slide.querySelector('.content');
        if (box.width !== 1280 || box.height !== 720) say(`is ${box.width} by ${box.height}`);
        for (const part of [slide, content])
            if (part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1)
                say(`its ${part.className} is ${part.scrollWidth - part.clientWidth} too wide and ` +
                    `${part.scrollHeight - part.clientHeight} too high`);
        for (const part of content.querySelectorAll('p, li, pre, img, .chart, canvas, .tex, audio, table')) {
            const at = part.getBoundingClientRect();
            if (part.closest('.katex-mathml, details, .notes') || !at.width) continue;
            const aside = at.left < box.left - 1 || at.right > box.right - 20;
            if (aside || at.top < box.top - 1 || at.bottom > box.bottom - 18)
                say(`${part.tagName} ${part.className} sticks out: ${part.innerText?.slice(0, 30)}`);
            if (part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).display !== 'inline')
                say(`${part.tagName} ${part.className} is ${part.scrollWidth - part.clientWidth} wider than its room`);
        }
        for (const pre of slide.querySelectorAll('pre')) {
            const style = getComputedStyle(pre), lines = pre.textContent.replace(/\\n$/, '').split('\\n').length;
            if (parseFloat(style.fontSize) < 20) say(`code of ${style.fontSize}`);
            if (pre.clientHeight - parseFloat(style.paddingTop) * 2 > (lines + 0.5) * parseFloat(style.lineHeight))
                say(`code wraps: ${pre.textContent.slice(0, 40)}`);
        }
        const texts = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const text = texts.currentNode, parent = text.parentElement;
            const none = 'pre, script, template, .notes, .katex-mathml';
            if (!text.data.replace('\u200b', '').trim() || parent.closest(none) || parent.closest(small)) continue;
            const size = parseFloat(getComputedStyle(parent).fontSize);
            if (size < 24) say(`text of ${size} pixels: ${text.data.trim().slice(0, 40)}`);
        }
        for (const picture of slide.querySelectorAll('img'))
            if (picture.getBoundingClientRect().height < 150) say('a picture that is too small');
        for (const chart of slide.querySelectorAll('.live-chart .chart')) {
            const parts = [...chart.children].map(part => part.getBoundingClientRect());
            const width = Math.max(...parts.map(p => p.right)) - Math.min(...parts.map(p => p.left));
            if (width < 0.8 * 1280) say(`a chart of ${Math.round(width)} pixels, 0.8 of 1280 are asked`);
        }
    });
    return found;
}"""

# What a hostile output would try.
REFUSED = """async () => {
    const refused = [];
    document.addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
    await fetch('http://127.0.0.1:9/x').catch(() => {});
    const add = (tag, values) => document.body.append(Object.assign(document.createElement(tag), values));
    add('img', {src: 'http://127.0.0.1:9/x.png'});
    add('script', {src: 'http://127.0.0.1:9/x.js'});
    add('iframe', {src: 'http://127.0.0.1:9/'});
    await new Promise(done => setTimeout(done, 500));
    return refused;
}"""

// Runs in report.html, opened by `interop report --check`: measures what a reader sees.
const channel = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
};
// WCAG 2.2: relative luminance, contrast ratio.
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
};
const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
const isClear = (colour) => colour.length === 4 && colour[3] === 0;
const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
        const colour = parts(getComputedStyle(at).backgroundColor);
        if (!isClear(colour)) return colour;
    }
    // What the browser itself puts there.
    return dark ? [18, 18, 18] : [255, 255, 255];
};
const dark = matchMedia("(prefers-color-scheme: dark)").matches;

let texts = 0;
let least = Infinity;
let worst = "";
const measure = (element) => {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !element.getClientRects().length) return;
    texts += 1;
    const ratio = contrast(parts(getComputedStyle(element).color), behind(element));
    if (ratio < least) {
        least = ratio;
        worst = `${element.localName} ${element.className} "${element.textContent.trim().slice(0, 40)}"`;
    }
};
document.querySelectorAll("body *:not(script, style)").forEach(measure);

// A click goes to the cell's section, which is shown then, with its log. The browser slows down who
// goes to hundreds of places in a moment, so few are clicked, from all over the tables.
const links = [...document.querySelectorAll("td a")];
const CLICKED = 50;
const each = Math.ceil(links.length / CLICKED);
const mute = [];
links.forEach((link, number) => {
    const section = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    const log = section?.querySelector("pre");
    const isClicked = number % each === 0;
    if (isClicked) link.click();
    if (!log?.textContent.trim() || isClicked && !log.getClientRects().length) mute.push(link.hash);
    else if (isClicked) section.querySelectorAll("*").forEach(measure);
});

const foreign = [...document.querySelectorAll("[src], link[href]")].map((element) => element.outerHTML.slice(0, 100));
const found = document.createElement("pre");
found.id = "found";
found.textContent = JSON.stringify({
    dark, texts, contrast: least, worst, cells: links.length, mute: mute.slice(0, 10), foreign,
});
document.body.replaceChildren(found);

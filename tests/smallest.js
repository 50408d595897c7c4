() => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || one.closest("script, style, template, .vh, [hidden]")) continue;
        if (!one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        const { width, height } = one.getBoundingClientRect();
        if (width < 2 || height < 2 || getComputedStyle(one.closest("h3") || one).clipPath !== "none") continue;
        const svg = one.closest("svg");
        found.push([parseFloat(getComputedStyle(one).fontSize) * (svg ? svg.getScreenCTM().a : 1), one.textContent.trim()]);
    }
    return found.reduce((least, one) => (one[0] < least[0] ? one : least));
}

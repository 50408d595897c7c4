(flights) => {
    const visible = (one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && one.getClientRects().length;
    const inner = (one) => {  // without the room that a font keeps over and under its letters
        const { left, right, top, bottom, height } = one.getBoundingClientRect();
        return { left: left + 1, right: right - 1, top: top + height * 0.2, bottom: bottom - height * 0.2 };
    };
    const meet = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
    const found = [];
    for (const svg of document.querySelectorAll("svg")) {
        if (!svg.getClientRects().length) continue;
        const texts = [...svg.querySelectorAll("text")].filter(visible).map((one) => ({ one, box: inner(one), name: one.textContent.trim() }));
        const shapes = [...svg.querySelectorAll(".node rect, .pill rect, .token circle, .lifeline circle")].filter(visible)
            .map((one) => ({ one, box: inner(one), name: one.parentNode.textContent.trim() }));
        texts.forEach((text, n) => {
            for (const other of texts.slice(n + 1)) if (meet(text.box, other.box)) found.push(`${text.name} / ${other.name}`);
            for (const shape of shapes) {
                const own = shape.one.parentNode === text.one.parentNode;
                const corner = text.one.closest(".token") && shape.one.closest(".node");
                if (!own && !corner && meet(text.box, shape.box)) found.push(`${text.name} on ${shape.name}`);
                if (own && shape.one.matches("rect") && (text.box.left < shape.box.left || text.box.right > shape.box.right))
                    found.push(`${text.name} out of its box`);
            }
        });
        const screen = svg.getScreenCTM();
        if (flights) for (const path of svg.querySelectorAll(".arrow .out, .arrow .into")) {
            const length = path.getTotalLength(), r = 5 * screen.a;
            for (let n = 0; n <= 20; n += 1) {
                const { x, y } = path.getPointAtLength(length * n / 20).matrixTransform(screen);
                const dot = { left: x - r, right: x + r, top: y - r, bottom: y + r };
                for (const text of texts) if (meet(text.box, dot)) found.push(`${path.dataset.step} flies over ${text.name}`);
            }
        }
    }
    return [...new Set(found)];
}

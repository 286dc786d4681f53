(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  let printing = false;

  const config = () => {
    const style = getComputedStyle(document.documentElement);
    const ink = printing ? "#1c2733" : style.getPropertyValue("--ink").trim();
    const line = printing ? "#dfe4ea" : style.getPropertyValue("--line").trim();
    const text = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12 };
    return {
      background: "transparent",
      font: style.getPropertyValue("font-family"),
      axis: { ...text, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500 },
      legend: text,
      view: { stroke: "transparent" },
    };
  };

  // The charts hold their data: nothing is ever loaded, whatever a specification may name.
  const loader = { load: () => Promise.reject(new Error("no network")), sanitize: () => Promise.reject(new Error("no links")) };

  const draw = async () => {
    for (const figure of figures) {
      const spec = JSON.parse(document.getElementById(figure.dataset.chart).textContent);
      const place = figure.querySelector(".chart");
      place.replaceChildren();
      await window.drawChart(place, spec, { renderer: "svg", actions: false, config: config(), loader });
    }
    document.documentElement.dataset.drawn = "true";
  };

  dark.addEventListener("change", draw);
  addEventListener("beforeprint", () => { printing = true; draw(); document.querySelectorAll("details").forEach((d) => { d.open = true; }); });
  addEventListener("afterprint", () => { printing = false; draw(); });
  draw();
})();

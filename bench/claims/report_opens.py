"""How long a browser that is already there takes to show a report, from the address to the last picture."""

from harness import page
from harness.bench import Bench, Result
from harness.browser import chromium
from harness.browser import page as new_page
from harness.measure import Failed, Spread

MOST_MS = 1000
MOST_BYTES = 2_000_000
WHEN = """(() => {
  const [whole] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return whole && whole.loadEventEnd && paint ? [paint.startTime, whole.loadEventEnd] : null;
})()"""


def measure(bench: Bench) -> Result:
    if bench.report is None:
        raise Failed("report-opens wants `--report FILE.html`, such as the one that `pipe run --profile demo` writes")
    if not bench.report.is_file():
        raise Failed(f"{bench.report} is not there")
    report, browser, rounds = bench.report.resolve(), chromium(), bench.rounds_or(2, 15)
    seen, loaded = [], []
    for _ in range(rounds):
        with new_page(browser) as tab:
            opened = tab.call("Page.navigate", url=report.as_uri())
            if "errorText" in opened:
                raise Failed(f"{report}: {opened['errorText']}")
            first, last = tab.until(WHEN)
        seen.append(first)
        loaded.append(last)
    size = report.stat().st_size
    lines = ["| | median | range |", "|---|--:|--:|"]
    whole = Spread.of(loaded)
    for name, spread in (("first words on the screen", Spread.of(seen)), ("all of it loaded", whole)):
        lines.append(f"| {name} | {spread.median:.0f} ms | {spread.least:.0f}–{spread.most:.0f} ms |")
    parts = [
        f"`{report.name}`, {page.size(size)}, opened as a file by a headless browser with an empty profile, a new one for each of "
        f"{rounds} rounds. Times count from when the browser is told the address.",
        "\n".join(lines),
        "\n\n".join(
            [
                page.verdict(f"opens in under a second: {whole.median:.0f} ms", whole.median < MOST_MS),
                page.verdict(f"below 2 MB: {page.size(size)}", size < MOST_BYTES),
            ]
        ),
    ]
    return Result("Opening a report", parts, [browser], rounds, {"first_paint_ms": seen, "loaded_ms": loaded})

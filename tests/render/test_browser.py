"""
The pages in a real browser, where one is installed: light and dark, wide and narrow, nothing cut off.
"""

import html
import json
import re
import shutil
import struct
import subprocess
import zlib

import pytest

import vllm_sizing as vs
from vllm_sizing.render import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# Reports by its title what a reader would see; the pages themselves forbid scripts, so the copy does not.
PROBE = """<script>
document.querySelectorAll("details").forEach(part => { part.open = true; });
const texts = [...document.querySelectorAll("svg.chart")].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect(), frame]);
});
const outside = texts.filter(([, box, frame]) =>
  box.left < frame.left - 12 || box.right > frame.right + 12 || box.top < frame.top - 4 || box.bottom > frame.bottom + 4);
const crossing = texts.filter(([, one, frame], place) => texts.some(([, other, its], at) => at < place && its === frame &&
  one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom));
document.title = JSON.stringify({
  scroll: document.documentElement.scrollWidth, width: innerWidth, charts: document.querySelectorAll("svg.chart").length,
  outside: outside.map(([words]) => words), crossing: crossing.map(([words]) => words),
  shown: [...document.querySelectorAll("section")].every(part => part.getBoundingClientRect().height > 0),
  reached: [...document.querySelectorAll("[tabindex], summary")].filter(part => { part.focus(); return document.activeElement === part }).length,
  places: document.querySelectorAll("[tabindex], summary").length,
});
</script>"""


@pytest.fixture
def browse(tmp_path):
    def browse(source, *more):
        place = tmp_path / "page.html"
        place.write_text(source, encoding="utf-8")
        words = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *more, place.as_uri()]
        return subprocess.run(words, capture_output=True, check=True, timeout=120).stdout.decode()

    return browse


def pages():
    model, gpus = vs.load_model("Qwen/Qwen3-8B"), (vs.find_gpu("l4"), vs.find_gpu("h100-sxm"))
    workload = vs.Workload(1024, 256, 32, target=vs.LatencyTarget(ttft_ms=400, tpot_ms=40))
    plan = vs.plan(model, gpus[1], workload)
    space = vs.SearchSpace(
        models=model, gpus=gpus, workload=workload, num_gpus=(1, 2), max_num_seqs=None, concurrency=(8, 32, 128)
    )
    return {
        "plan": vs.render.html_report(plan),
        "does-not-fit": vs.render.html_report(vs.plan(vs.load_model("Qwen/Qwen3-32B"), gpus[0])),
        "search": vs.render.search_report(vs.search(space)),
        "notebook": f"<!doctype html><body style='margin:8px'>{plan._repr_html_()}</body>",
    }


@pytest.mark.parametrize("name", ["plan", "does-not-fit", "search", "notebook"])
@pytest.mark.parametrize("width", [500, 1200])
def test_nothing_is_cut_off_or_out_of_reach(browse, name, width):
    source = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", pages()[name])

    dom = browse(source.replace("</body>", PROBE + "</body>"), f"--window-size={width},900", "--dump-dom")

    seen = json.loads(html.unescape(re.search("<title>(\\{.*?\\})</title>", dom)[1]))
    assert seen["width"] == width
    assert seen["scroll"] <= width
    assert seen["outside"] == seen["crossing"] == []
    assert seen["shown"]
    assert seen["reached"] == seen["places"]
    assert seen["charts"] == {"plan": 4, "does-not-fit": 0, "search": 5, "notebook": 4}[name]


def corner(png):
    """
    The first pixel of a PNG: no filter changes that one.
    """
    data, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    return "#" + zlib.decompress(data)[1:4].hex()


@pytest.mark.parametrize(("scheme", "colours"), [(1, page.LIGHT), (0, page.DARK)])
def test_it_follows_the_reader_s_light_or_dark(browse, tmp_path, scheme, colours):
    shot = tmp_path / "shot.png"

    browse(pages()["plan"], f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}")

    assert corner(shot.read_bytes()) == colours["page"]

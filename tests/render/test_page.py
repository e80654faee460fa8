"""
The pages: whole documents that load nothing, can be read by everyone, and in which nothing comes alive.
"""

import itertools
import re

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.render import results, samples
from tests.render.test_html import ALLOWED, ATTRIBUTES, Page
from vllm_sizing.render import charts, html_report, page, search_report, svg

FRAME = {"body", "h1", "h2", "h3", "head", "html", "main", "meta"}
PAGES = {f"plan-{name}": (html_report, make) for name, make in samples.PLANS.items()}
PAGES |= {f"search-{name}": (search_report, make) for name, make in results.RESULTS.items()}


@pytest.fixture(params=PAGES)
def source(request):
    render, make = PAGES[request.param]
    return render(make())


@pytest.mark.parametrize("name", ["plan-fits", "plan-hostile", "search-found", "search-missed"])
def test_page(name, golden):
    render, make = PAGES[name]

    assert render(make()) == golden("html")


def test_it_is_a_document_with_only_tags_that_do_nothing(source):
    found = Page(source)

    assert source.startswith("<!doctype html>")
    assert found.open == []
    assert set(found.tags) <= ALLOWED | FRAME
    assert {name for name, _ in found.attributes} <= ATTRIBUTES | {"charset", "content", "http-equiv", "lang", "name"}
    assert found.tags.count("h1") == found.tags.count("main") == 1


def test_it_asks_for_nothing_from_elsewhere(source):
    found = Page(source)

    assert not {"a", "base", "embed", "iframe", "img", "link", "object", "script", "use"} & set(found.tags)
    assert not {"href", "src", "srcset", "xlink:href", "action"} & {name for name, _ in found.attributes}
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    styles = "".join(re.findall("<style>(.*?)</style>", source, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert "default-src 'none'" in source


def test_no_two_things_have_one_id(source):
    ids = [value for name, value in Page(source).attributes if name == "id"]

    assert len(set(ids)) == len(ids)


def test_titles_go_down_step_by_step(source):
    levels = [int(tag[1]) for tag in Page(source).tags if re.fullmatch("h[1-6]", tag)]

    assert levels[0] == 1
    assert all(later <= before + 1 for before, later in itertools.pairwise(levels))


def test_whatever_scrolls_can_be_reached_with_the_keyboard(source):
    assert source.count('class="command"') + source.count('class="wide"') == source.count('tabindex="0"')


def test_every_table_of_offers_has_heads():
    assert search_report(results.found()).count('<th scope="col"') >= 8 * 2


@settings(max_examples=20, deadline=None)
@given(name=st.text("<>&'\"/=! abscript\n\x1b\u202e模", min_size=1, max_size=40))
def test_no_name_becomes_markup(name):
    plan = samples.fits()
    evil = attrs.evolve(plan, model=attrs.evolve(plan.model, name=name))
    gpu = attrs.evolve(plan.gpu, name=name)
    evil_search = results.offer(1, attrs.evolve(evil, cluster=attrs.evolve(plan.cluster, gpu=gpu)))

    assert Page(html_report(evil)).tags == Page(html_report(plan)).tags
    ordinary = search_report(results.result([results.offer(1)], [results.offer(1)] * 3))
    assert Page(search_report(results.result([evil_search], [evil_search] * 3))).tags == Page(ordinary).tags


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """
    WCAG 2's ratio, 1 to 21.
    """
    one, other = (
        colour if len(colour) == 7 else "#" + "".join(2 * char for char in colour[1:]) for colour in (one, other)
    )
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def mixed(ink, ground, opacity):
    parts = [(int(ink[place : place + 2], 16), int(ground[place : place + 2], 16)) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in parts)


@pytest.mark.parametrize("theme", [page.LIGHT, page.DARK])
def test_text_and_lines_stand_out_from_the_page(theme):
    ground = theme["page"]

    assert contrast(theme["ink"], ground) >= 7
    # The faintest text there is: .8 of .9.
    assert contrast(mixed(theme["ink"], ground, 0.72), ground) >= 4.5
    assert contrast(theme["limit"], ground) >= 4.5  # Its words have its colour.
    for name in ("line", "mark"):
        assert contrast(theme[name], ground) >= 3


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_lines_in_a_notebook_stand_out_from_white_and_black(ground):
    """
    There the page's colours are not known.
    """
    for colour in re.findall(r"var\(--\w+,(#\w+)\)", svg.STYLE):
        assert contrast(colour, ground) >= 3


def test_words_stand_out_from_the_parts_of_the_memory():
    for fill, ink in charts.FILLS.values():
        if fill != "transparent":
            assert contrast(fill, ink) >= 4.5
    for badge in ("#1a7f37", "#b3261e"):
        assert contrast(badge, "#fff") >= 4.5

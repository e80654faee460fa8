"""
The notebook fragment: self-contained, balanced, and nothing in it comes alive.
"""

from html.parser import HTMLParser

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.render import samples
from vllm_sizing.render import picture
from vllm_sizing.render.console import to_text
from vllm_sizing.render.html import fragment

VOID = {"br", "meta"}
SVG = {"circle", "desc", "line", "polygon", "polyline", "rect", "svg", "text", "title"}
ALLOWED = SVG | {
    "b",
    "bdi",
    "br",
    "details",
    "div",
    "figcaption",
    "figure",
    "h4",
    "i",
    "p",
    "pre",
    "section",
    "span",
    "style",
    "summary",
    "table",
    "td",
    "th",
    "tr",
}
SVG_ATTRIBUTES = {"aria-label", "cx", "cy", "dy", "fill", "height", "points", "r", "viewbox", "width"} | {
    *("x", "x1", "x2", "y", "y1", "y2")
}
ATTRIBUTES = SVG_ATTRIBUTES | {"class", "role", "scope", "style", "tabindex"}


class Page(HTMLParser):
    """
    What a reader of the fragment gets: its tags, attributes and text.
    """

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("name", ["fits", "does-not-fit", "hostile"])
def test_fragment(name, golden):
    assert fragment(samples.PLANS[name]()) == golden("html")


def test_it_is_balanced_and_has_only_tags_that_do_nothing(plan):
    page = Page(fragment(plan))

    assert page.open == []
    assert set(page.tags) <= ALLOWED
    assert {name for name, _ in page.attributes} <= ATTRIBUTES


def test_pictures_say_what_they_show(plan):
    page = Page(fragment(plan))

    named = [value for name, value in page.attributes if name == "aria-label"]
    assert all(named)
    # Each picture, and each stretch of the memory, has a title of its own.
    assert page.tags.count("title") == page.tags.count("svg")
    assert page.tags.count("figure") == page.tags.count("details") == page.tags.count("summary")


def test_it_asks_for_nothing_from_elsewhere(plan):
    source = fragment(plan).lower()

    assert "<script" not in source
    assert "http" not in source
    assert "url(" not in source
    assert "@import" not in source


def test_the_plain_report_stands_first(plan):
    page = Page(fragment(plan))

    assert page.tags[:2] == ["div", "pre"]
    assert page.text[0] == to_text(plan)


def test_a_plan_shows_itself_in_a_notebook():
    plan = samples.fits()

    assert plan._repr_html_() == fragment(plan)


def test_every_part_of_the_memory_has_its_stretch_and_its_words(plan):
    source = fragment(plan)
    parts = picture.segments(plan)
    whole = sum(part.num_bytes for part in parts)

    for part in parts:
        assert f'width="{100 * part.num_bytes / whole:.3f}%"' in source
        assert f"<title>{part.label} {picture.gib(part.num_bytes)} GiB" in source


@settings(max_examples=40)
@given(name=st.text("<>&'\"/=! abscript\n\x1b\u202e模", min_size=1, max_size=40))
def test_no_name_becomes_markup(name):
    """
    Whatever the model is called, the fragment has the tags of any other.
    """
    plan = samples.fits()
    ordinary = Page(fragment(plan))
    page = Page(fragment(attrs.evolve(plan, model=attrs.evolve(plan.model, name=name))))

    assert page.tags == ordinary.tags
    assert len(page.attributes) == len(ordinary.attributes)

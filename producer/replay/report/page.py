"""Build a report: one HTML file without external parts, whose content policy allows its own script alone."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from producer.replay import wording
from producer.replay.comparing import Change
from producer.replay.report import plots, tables
from producer.replay.report.embedded import embedded
from producer.replay.report.figures import Tile, tiles
from producer.replay.report.sankey import routes
from producer.replay.report.svg import Markup, element
from producer.replay.sampling import SAMPLE
from producer.replay.summary import ConditionOutcome, Headline, MovedFlow, Summary

_HERE = Path(__file__).parent
_TONES = {"good": "No regression", "mixed": "Worth a look", "bad": "Regression", "unclear": "Cannot tell"}


def page(summary: Summary, most_changed: Sequence[Change], *, trace_base: str | None = None) -> str:
    """Return the report as HTML. Every text of a user or a flow is escaped, or data that the script sets as text."""
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    data, shown = embedded(summary, most_changed, trace_base=trace_base)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Replay: {summary.name}"),
        element("style", Markup(style)),
    )
    main = element(
        "main",
        _top(summary),
        _verdict(summary),
        _moves(summary.moves) if len(summary.moves) > 1 else "",
        _tiles(tiles(summary)),
        _plots(summary),
        _items(shown, summary),
        _end(summary),
    )
    body = element(
        "body",
        main,
        element("script", Markup(data), id="data", type="application/json"),
        element("script", Markup(script)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _top(summary: Summary) -> Markup:
    themes = [
        element("button", words, type="button", value=value, aria_pressed="false")
        for value, words in (("auto", "Auto"), ("light", "Light"), ("dark", "Dark"))
    ]
    return element(
        "div",
        element("b", summary.name),
        element("span", f"against {summary.compared_with}") if summary.compared else "",
        element("span", class_="space"),
        element("span", f"{summary.created.day} {summary.created:%B %Y, %H:%M} UTC"),
        element("span", *themes, class_="themes", role="group", aria_label="Theme"),
        class_="top",
    )


def _verdict(summary: Summary) -> Markup:
    headline = summary.headline or Headline(tone="unclear", line="Nothing was judged")
    facts = [element("li", fact) for fact in headline.facts]
    told = element(
        "div",
        element("span", _TONES[headline.tone], class_="tone"),
        element("h1", _unbroken(headline.line)),
        element("ul", *facts, class_="facts") if facts else "",
    )
    gate = _gate(summary.gate) if summary.gate else Markup()
    return element("section", told, gate, class_=f"verdict tone-{headline.tone}")


def _moves(moves: Sequence[MovedFlow]) -> Markup:
    """Return the verdict on each flow by itself, where several were moved."""
    rows = [
        element(
            "li",
            element("b", f"{move.before} → {move.after}: "),
            _unbroken(move.headline.line),
            element("ul", *(element("li", _unbroken(fact)) for fact in move.headline.facts), class_="facts"),
        )
        for move in moves
    ]
    return element("section", element("h2", "Flow by flow"), element("ul", *rows), class_="card moves")


def _gate(conditions: Sequence[ConditionOutcome]) -> Markup:
    return element("aside", element("h2", "Gate"), element("ul", *map(_condition, conditions)), class_="gate")


def _condition(outcome: ConditionOutcome) -> Markup:
    doubt = "" if outcome.certain or outcome.value is None else element("em", "too few cases to be sure")
    return element(
        "li",
        element("i", "✓" if outcome.passed else "✗"),
        element("span", element("code", outcome.condition), element("small", outcome.measured, " ", doubt)),
        class_="passed" if outcome.passed else "missed",
    )


def _tiles(shown: Sequence[Tile]) -> Markup:
    # Rows of four; what is left of the last one goes to its last figure.
    spare = -len(shown) % 4
    made = [_tile(tile, f"span-{1 + spare}" if place == len(shown) else "") for place, tile in enumerate(shown, 1)]
    return element("section", *made, class_="tiles")


def _tile(tile: Tile, width: str) -> Markup:
    return element(
        "div",
        element("h2", tile.title),
        element("strong", tile.number, element("small", f" {tile.unit}") if tile.unit else ""),
        element("p", _unbroken(tile.note)),
        Markup(tile.whisker),
        class_=" ".join(filter(None, ("tile", tile.tone, width))),
    )


def _unbroken(text: str) -> str:
    """Keep a number and its unit on one line, and two numbers of one share."""
    text = re.sub(r"(?<=\d) of (?=\d)", "\u00a0of\u00a0", text)
    for unit in ("%", "ms", "s", "min"):
        text = re.sub(rf"(?<=\d) (?={unit}\b|{unit}$|%)", "\u00a0", text)
    return text


def _plots(summary: Summary) -> Markup:
    what = "of the flow alone" if summary.durations_of_flows else "from submission to the answer"
    moved, changes = summary.routes.changed, summary.routes.changes
    elsewhere = f"{wording.count(moved)} of {wording.count(summary.routes.compared)} elsewhere"
    cards = [
        _card("How long answers take", what, plots.durations(summary), tables.times(summary.speed)),
        _card("Where questions go", elsewhere, routes(changes), tables.most_moved(changes)),
        _card(
            "How alike the answers are", "by meaning", plots.likeness(summary.answers), tables.sameness(summary.answers)
        ),
        _card("The replay itself", "time to answer above, questions below", plots.timeline(summary.timeline), _marks()),
    ]
    return element("section", *[card for card in cards if card], class_="plots")


def _card(title: str, note: str, drawing: Markup, below: str = "") -> Markup:
    if not drawing:
        return Markup()
    return element("figure", element("header", element("h2", title), element("p", note)), drawing, below, class_="card")


def _marks() -> Markup:
    return element(
        "div",
        element("span", "time to answer, p95 and median", class_="of-after"),
        element("span", "questions"),
        element("span", "failed", class_="of-bad"),
        element("span", "some on another route", class_="of-warn"),
        class_="legend",
    )


def _items(shown: int, summary: Summary) -> Markup:
    if shown < summary.items:
        told = f"The {shown:,} most changed of {wording.count(summary.items, 'question')}"
    else:
        told = "The most changed first" if summary.compared else "There is nothing to compare them with"
    orders = [
        element("option", words, value=value)
        for value, words in (
            ("change", "Most changed first"),
            ("likeness", "Least alike first"),
            ("slower", "Slowed down most first"),
            ("number", "In their order"),
        )
    ]
    return element(
        "section",
        element("header", element("h2", "Question by question"), element("p", told), element("p", id="shown")),
        element("div", id="chips", class_="chips"),
        element(
            "div",
            element(
                "input",
                id="search",
                type="search",
                placeholder="Search questions, answers, routes, errors",
                aria_label="Search",
            ),
            element("select", *orders, id="order", aria_label="Order"),
            class_="tools",
        ),
        element("div", id="list", class_="list"),
        element(
            "p", "No question fits." if shown else "There are no questions to show.", id="nothing", class_="nothing"
        ),
        element("noscript", element("p", "The list of questions needs this page's own script.", class_="nothing")),
        class_="items",
    )


def _end(summary: Summary) -> Markup:
    notes = [
        f"Intervals are of 95 %: Wilson's for shares, Bonett and Price's for shares of pairs, a paired bootstrap for "
        f"ratios and means. Quantiles and intervals rest on at most {SAMPLE:,} pairs, drawn uniformly.",
        "A grey zone marks differences that do not matter. An interval that reaches out of it cannot exclude others.",
        "Likeness is the cosine of the answers' vectors, by the encoder that routing uses.",
        "All questions are in changes.jsonl, their whole texts in results.jsonl, all figures in summary.json.",
    ]
    return element("footer", *[element("p", note) for note in notes], class_="end")

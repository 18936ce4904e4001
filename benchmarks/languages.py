"""Measure routing in many languages, without a server, with few examples.

    python -m benchmarks.languages                   # the questions of this folder, those that were developed with
    python -m benchmarks.languages --held-back       # examples from those, asked: the third that was set aside
    python -m benchmarks.languages --broad           # wider domains: most questions share no word with any example
    python -m benchmarks.languages --home-assistant  # sentences of the package `home-assistant-intents`, if installed
    python -m benchmarks.languages --short           # questions of few words in 46 languages, to the bundled registry

Each language is a catalog of its own. Figures are means over the seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from agentic_flywheel.catalog import Catalog, Flow, Policy
from agentic_flywheel.models import Query
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.routing import FittedRouter, choose_route, fit_router
from agentic_flywheel.routing.belonging import doubted
from agentic_flywheel.routing.router import RouterReading
from benchmarks.lab.arguments import at_least
from benchmarks.routing import auroc, expected_calibration_error

Domains = dict[str, list[str]]

FOLDER = Path(__file__).with_name("languages")
#: So many of a domain's 30 questions were developed with; the others were set aside.
_DEVELOPED = 20
#: Sentences of the package are put together from so many intents of one device each.
_DEVICES = {
    "timer": "Timer",
    "media": "Media|Volume",
    "climate": "Climate|Weather|Temperature",
    "switch": "TurnOn|TurnOff|LightSet",
    "cleaning": "Vacuum|LawnMower",
    "list": "List",
}
_SENTENCES, _FEWEST_DEVICES = 30, 4


def of_folder(folder: Path) -> Iterator[tuple[str, Domains]]:
    """Yield each language of a folder with its questions by domain."""
    for path in sorted(folder.glob("*.txt")):
        yield path.stem, of_file(path)


def of_file(path: Path) -> Domains:
    """Return the questions of a file by the heading above them."""
    found: Domains = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            questions = found.setdefault(line[2:], [])
        else:
            questions.append(line)
    return found


def of_home_assistant() -> Iterator[tuple[str, Domains]]:
    """Yield each language of the package with sentences made from its templates, by device."""
    spec = find_spec("home_assistant_intents")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install home-assistant-intents, then try again")
    for path in sorted((Path(spec.origin).parent / "data").glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        chance = random.Random(path.stem)
        domains = {}
        for device, pattern in _DEVICES.items():
            templates = [
                template
                for intent, rules in told.get("intents", {}).items()
                if re.search(pattern, intent)
                for rule in rules["data"]
                for template in rule["sentences"]
            ]
            made = {
                _sentence(chance.choice(templates), told, chance) for _ in range(_SENTENCES * 6 if templates else 0)
            }
            sentences = sorted(each for each in made if len(each) > 1)
            if len(sentences) >= _SENTENCES:
                domains[device] = chance.sample(sentences, _SENTENCES)
        if len(domains) >= _FEWEST_DEVICES:
            yield path.stem, domains


def _sentence(template: str, told: dict[str, dict[str, object]], chance: random.Random) -> str:
    """Return one sentence of a template: ``(a|b)`` is a choice, ``[a]`` may be left out, ``<rule>`` stands for more."""
    rules = told.get("expansion_rules", {})
    for _ in range(200):
        found = re.search(r"<([^<>]+)>|\{[^{}]*\}|\(([^()\[\]]*)\)|\[([^()\[\]]*)\]", template)
        if found is None:
            break
        rule, choice, optional = found.groups()
        if rule is not None:
            instead = f"({rules.get(rule, '')})"
        elif choice is not None:
            instead = chance.choice(re.split(r"[|;]", choice))
        else:
            instead = chance.choice([*(optional or "").split("|"), ""])
        template = template[: found.start()] + instead + template[found.end() :]
    return " ".join(re.sub(r"[()\[\]<>{}|;]", " ", template).split())


def measure(domains: Domains, foreign: list[str], *, shots: int, seeds: int, held_back: bool) -> dict[str, float]:
    """Return the figures of one language with so many examples for each domain."""
    right: list[bool] = []
    confidence: list[float] = []
    inside: list[float] = []
    outside: list[float] = []
    sure: list[bool] = []
    sure_outside: list[bool] = []
    for seed in range(seeds):
        chance = random.Random(seed)
        examples = {name: chance.sample(questions[:_DEVELOPED], shots) for name, questions in domains.items()}
        router = _router(examples)
        for name, questions in domains.items():
            asked = questions[_DEVELOPED:] if held_back else questions[:_DEVELOPED]
            for reading in (router.read(text) for text in asked if text not in examples[name]):
                right.append(router.flows[reading.best] == name)
                confidence.append(min(1.0, reading.chances[reading.best]))
                inside.append(-reading.novelty)
                sure.append(_is_high(reading))
        for reading in map(router.read, foreign):
            outside.append(-reading.novelty)
            sure_outside.append(_is_high(reading))
    figures = {
        "accuracy": float(np.mean(right)),
        "ece": expected_calibration_error(np.array(confidence), np.array(right)),
        "taken_for_foreign": float(np.mean(np.array(inside) < -0.5)),
        "high": float(np.mean(sure)),
        "high_right": float(np.mean(np.array(right)[sure])),
    }
    if not foreign:
        return figures
    return figures | {
        "auroc": auroc(np.array(inside), np.array(outside)),
        "foreign_high": float(np.mean(sure_outside)),
    }


def _is_high(reading: RouterReading) -> bool:
    policy = Policy()
    return not reading.novel and doubted(reading.chances[reading.best], reading.belonging, policy) >= policy.high


def measure_short() -> None:
    """Print how many short questions of each language are sure of a flow of the bundled registry, which is English."""
    catalog = load_catalog(find_registry(None))
    router = fit_router(catalog)
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for language, questions in of_file(FOLDER / "short.txt").items():
        bands = Counter(str(choose_route(Query(question=text), router, catalog).band) for text in questions)
        print(f"{language:22} {bands['high']:3} of {len(questions)} high", flush=True)
        name, _, held_back = language.partition(" ")
        sums[f"{'English' if name == 'English' else 'other languages'} {held_back}".strip()] += bands
    for name, bands in sums.items():
        print(f"all: {name:29} {bands['high']:3} of {bands.total()} high")


def _router(examples: Domains) -> FittedRouter:
    flows = {name: Flow(key=name, id=name, domain=name, examples=tuple(own)) for name, own in examples.items()}
    return fit_router(Catalog(flows=flows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broad", action="store_true", help="wider domains")
    parser.add_argument("--home-assistant", action="store_true", help="the sentences of home-assistant-intents")
    parser.add_argument("--held-back", action="store_true", help="ask the third that was set aside")
    parser.add_argument("--shots", type=at_least(1), nargs="+", default=[6, 10], help="examples of each domain")
    parser.add_argument("--seeds", type=at_least(1), default=5)
    parser.add_argument("--short", action="store_true", help="short questions in 46 languages, to an English registry")
    options = parser.parse_args()
    if options.short:
        measure_short()
        return
    source: Callable[[], Iterator[tuple[str, Domains]]] = of_home_assistant
    if not options.home_assistant:
        folder = FOLDER / ("broad" if options.broad else "narrow")
        source = lambda: of_folder(folder)  # noqa: E731
    # A domain of the broad sets that the narrow ones do not have: its questions are foreign to them.
    foreign = {} if options.broad or options.home_assistant else dict(of_folder(FOLDER / "broad"))
    means: dict[int, list[float]] = {shots: [] for shots in options.shots}
    for language, domains in source():
        for shots in options.shots:
            figures = measure(
                domains,
                foreign.get(language, {}).get("technical", []),
                shots=shots,
                seeds=options.seeds,
                held_back=options.held_back,
            )
            means[shots].append(figures["accuracy"])
            print(f"{language:6} {shots:3}", *(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    for shots, accuracies in means.items():
        print(f"mean   {shots:3} accuracy {np.mean(accuracies):.3f}, lowest {min(accuracies):.3f}")


if __name__ == "__main__":
    main()

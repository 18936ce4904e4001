"""Whether any flow of a catalog is for a question, by how near the catalog's texts are to it.

A question that only shares common words with the examples resembles one flow's a little more than another's, and so may
seem sure. What such a likeness looks like is known without a single foreign question: each flow's own examples are
foreign to all other flows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from agentic_flywheel.catalog import Policy

Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

#: A text is compared with so many of the texts that are nearest to it.
_NEAR = 3
#: So many questions that no flow is for are expected for each one that belongs to a flow.
_ELSEWHERE = 0.2
#: Penalty of the factor, in examples; the longest step, and how many are taken.
_PENALTY, _LONGEST, _STEPS = 0.3, 2.0, 40
_CERTAIN = 30.0
#: What ``belonging_of`` gives where nothing can tell that no flow is for a question.
UNDOUBTED = 0.0, _CERTAIN


def _nearness(likeness: Vector) -> Matrix:
    """Return the mean of the few highest likenesses of each row."""
    count = min(_NEAR, likeness.shape[1])
    near: Matrix = np.partition(likeness, -count, axis=1)[:, -count:].mean(1, dtype=np.float64)
    return near


def belonging_of(gram: Vector, flows: npt.NDArray[np.int64], asked: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the log-odds that some flow is for a text: a factor for its nearness, and a constant.

    ``gram`` is the likeness of a catalog's texts to each other, ``flows`` the number of each one's flow. Those that are
    ``asked`` are left out in turn: alone, they belong to the catalog; with all other texts of their flow, to none.
    """
    inside, outside = [], []
    for flow in np.unique(flows[asked]):
        own = np.flatnonzero(asked & (flows == flow))
        elsewhere = gram[np.ix_(own, np.flatnonzero(flows != flow))]
        if not elsewhere.shape[1]:
            return UNDOUBTED
        outside.append(_nearness(elsewhere))
        alone = gram[own].copy()
        alone[np.arange(len(own)), own] = -np.inf
        inside.append(_nearness(alone))
    if not inside:
        return UNDOUBTED
    return _separated(np.concatenate(inside), np.concatenate(outside))


def _separated(inside: Matrix, outside: Matrix) -> tuple[float, float]:
    """Return a factor and a constant by logistic regression (Newton's method) on the two kinds of nearness."""
    near = np.concatenate([inside, outside])
    middle, spread = float(near.mean()), max(float(near.std()), 1e-6)
    sides = np.stack([(near - middle) / spread, np.ones(len(near))], 1)
    belongs = np.repeat([1.0, 0.0], len(inside))
    trust = np.repeat([1.0, _ELSEWHERE], len(inside))
    penalty = np.diag([_PENALTY, 1e-2])
    found = np.zeros(2)
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-(sides @ found)))
        slope = sides.T @ (trust * (chances - belongs)) + penalty @ found
        curvature = (sides * (trust * chances * (1 - chances))[:, None]).T @ sides + penalty
        step = np.linalg.solve(curvature, slope)
        found -= step * min(1.0, _LONGEST / max(float(np.linalg.norm(step)), 1e-12))
    factor = float(found[0]) / spread
    # Examples that are nearer to other flows' than to their own tell nothing.
    return (factor, float(found[1]) - factor * middle) if factor > 0 else UNDOUBTED


def doubted(chance: float, belonging: float, policy: Policy) -> float:
    """Return the probability that a flow is for a question, from that of all who might be, and from ``belonging``.

    Doubt takes the band "high" away, and no more: whether a question is foreign to all flows is decided by its novelty.
    """
    if chance <= policy.medium:
        return chance
    sure = chance / (1 + math.exp(min(-belonging, _CERTAIN)))
    return chance if sure >= policy.high else max(sure, policy.medium)


def belonging(likeness: Vector, line: tuple[float, float]) -> float:
    """Return the log-odds that some flow is for a text, from its likeness to all others and ``belonging_of``."""
    sides = likeness.copy()
    count = min(_NEAR, len(sides))
    sides.partition(-count)
    near = sum(sides[-count:].tolist()) / count
    factor, added = line
    return factor * near + added if near else 0.0

"""A company's catalog with five domains, for the questions of ``data/several.json``."""

from __future__ import annotations

import json
from pathlib import Path

from routing.catalogs import catalog_of, flow

COMPANY = catalog_of(
    flow(
        "legal-desk",
        "legal",
        name="Legal Desk",
        description="Contracts, liability, compliance, privacy law, patents, trademarks and legal risk.",
        keywords=("legal", "contract", "liability", "compliance"),
        topics={
            "contracts": (
                "can we terminate the contract early",
                "review this non-disclosure agreement",
                "what does the indemnity clause mean",
                "is a verbal agreement binding",
                "draft terms and conditions for our shop",
            ),
            "risk": (
                "what is the legal risk of this product",
                "are we liable if a customer gets hurt",
                "does the GDPR apply to our newsletter",
                "could we be sued for this comparison",
                "who owns the patent on this invention",
            ),
        },
    ),
    flow(
        "marketing-studio",
        "marketing",
        name="Marketing Studio",
        description="Campaigns, brands, slogans, audiences, advertising, social media and market value.",
        keywords=("marketing", "campaign", "brand", "slogan"),
        topics={
            "campaigns": (
                "plan a campaign for the spring launch",
                "write a slogan for our new shoe",
                "draft a post that announces the release",
                "which channels reach young parents",
                "name three headlines for the advert",
            ),
            "value": (
                "what is the marketing value of this feature",
                "how do customers see our brand",
                "who is the target audience of the app",
                "how do we position ourselves against the competitor",
                "measure the success of the advertising",
            ),
        },
    ),
    flow(
        "engineering",
        "technical",
        name="Engineering",
        description="Code, bugs, databases, performance, architecture, security and deployment of software.",
        keywords=("code", "bug", "database", "deploy"),
        topics={
            "debugging": (
                "why does this function throw a TypeError",
                "fix the bug in the login page",
                "the service crashes under load",
                "explain this stack trace",
                "the unit test fails in the pipeline",
            ),
            "design": (
                "how do I speed up this SQL query",
                "which architecture fits our backend",
                "design a schema for the orders",
                "how hard is it to implement single sign-on",
                "deploy the new version without downtime",
            ),
        },
    ),
    flow(
        "finance",
        "finance",
        name="Finance",
        description="Budgets, costs, prices, taxes, forecasts, invoices and investments.",
        keywords=("budget", "cost", "tax", "invoice"),
        topics={
            "planning": (
                "what will the project cost",
                "make a budget for next year",
                "forecast the revenue of the third quarter",
                "estimate the return on this investment",
                "how much should we charge for the product",
            ),
            "books": (
                "which taxes apply to foreign sales",
                "why was the invoice paid twice",
                "how do we depreciate the machines",
                "summarise the balance sheet",
                "calculate the margin of this order",
            ),
        },
    ),
    flow(
        "people",
        "people",
        name="People",
        description="Hiring, interviews, holidays, salaries of employees, training, teams and conflicts at work.",
        keywords=("hiring", "employee", "holiday", "interview"),
        topics={
            "hiring": (
                "write a job advert for a nurse",
                "which questions do I ask in the interview",
                "how do we find good candidates",
                "onboard a new colleague",
                "reject an applicant politely",
            ),
            "work": (
                "how many days of holiday do employees get",
                "two people in my team do not talk to each other",
                "which training helps a new team lead",
                "how do I prepare a performance review",
                "may staff work from home on Fridays",
            ),
        },
    ),
    fallback_flow="people",
)

#: Each a question and the domains that it really concerns.
QUESTIONS: list[tuple[str, list[str]]] = [
    (question, domains)
    for question, domains in json.loads((Path(__file__).parent / "data" / "several.json").read_text(encoding="utf-8"))
]
#: So many of them, the first, were looked at while the cuts were written; the rest came after.
TUNED = 62


def two_domains() -> dict[str, list[str]]:
    """Return the questions of ``data/two_domains.txt`` by how they were used and how many domains they concern."""
    found: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "data" / "two_domains.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            questions = found.setdefault(line[2:], [])
        else:
            questions.append(line.partition("\t")[2])
    return found

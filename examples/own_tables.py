"""From two tables to a table of predictions: customers and what they bought from one another, with a plan to predict."""

from __future__ import annotations

import csv
import random
import tempfile
from pathlib import Path

import revgnn

PLANS = ("basic", "silver", "gold")


def write_tables(folder: Path, customers: int, *, first: int = 0, labelled: bool = True) -> None:
    """Write `nodes.csv` and `edges.csv`, with missing values, as they come from a shop."""
    draw = random.Random(first)
    plans = {f"c{n}": draw.choice(PLANS) for n in range(first, first + customers)}
    folder.mkdir(parents=True)
    with (folder / "nodes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "age", "city", *(["plan"] if labelled else [])])
        for customer, plan in plans.items():
            age = "" if draw.random() < 0.1 else round(30 + 8 * PLANS.index(plan) + draw.gauss(0, 6))
            rows.writerow([customer, age, draw.choice(("Basel", "Bern", "")), *([plan] if labelled else [])])
    with (folder / "edges.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["from", "to"])
        for customer, plan in plans.items():
            alike = [other for other, its in plans.items() if its == plan and other != customer]
            for other in draw.sample(alike, 4) + draw.sample(sorted(plans), 2):
                rows.writerow([customer, other])


def main(customers: int = 400, epochs: int = 30) -> float:
    """Return the share of right predictions for new customers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tables(folder / "shop", customers)
        write_tables(folder / "new", customers, first=customers, labelled=False)
        settings = {"data.labels": ["plan"], "epochs": epochs, "device": "cpu"}
        run = revgnn.fit(folder / "shop", settings=settings)
        predicted = list(run.predict(folder / "new"))
    draw = random.Random(customers)
    truth = [draw.choice(PLANS) for _ in range(customers)]
    right = sum(p == t for p, t in zip(predicted, truth, strict=True)) / customers
    print(f"the first predictions: {', '.join(predicted[:3])}; {right:.3f} are right")
    return right


if __name__ == "__main__":
    main()

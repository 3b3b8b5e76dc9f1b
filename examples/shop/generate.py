"""A till's export of order lines, made up and seeded: python -m examples.shop.generate FOLDER [--customers N].

Customers have a habit each: some come back within days, some within months. Times are local, numbers German.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

START, END = date(2024, 1, 1), date(2024, 10, 1)
ITEMS, SEED = 300, 11
CHANNELS = ("web", "phone", "till")


def lines(customers: int) -> pd.DataFrame:
    """The order lines of all customers, in the order of their times."""
    draw = np.random.default_rng(SEED)
    days = (END - START).days
    every = draw.gamma(2.0, 25.0, customers) + 3  # days between two orders of a customer
    orders = []
    for customer, apart in enumerate(every):
        at = np.cumsum(draw.exponential(apart, int(days / apart * 2) + 5)) - draw.exponential(apart)
        orders.append(pd.DataFrame({"Kunde": f"C{customer}", "day": at[(at >= 0) & (at < days)]}))
    frame = pd.concat(orders, ignore_index=True).sort_values("day", ignore_index=True)
    open_hours = pd.to_timedelta(8 + 12 * (frame.day % 1), unit="h").dt.round("s")
    frame["Zeit"] = pd.Timestamp(START) + pd.to_timedelta(frame.day.astype(int), unit="D") + open_hours
    frame["Bestellung"] = [f"B{number:07}" for number in range(len(frame))]
    frame["Kanal"] = draw.choice(CHANNELS, len(frame), p=(0.6, 0.1, 0.3))
    sizes = draw.geometric(0.4, len(frame)).clip(max=8)
    long = frame.loc[frame.index.repeat(sizes)].reset_index(drop=True)
    long["Zeile"] = long.groupby("Bestellung").cumcount() + 1
    item = draw.zipf(1.4, len(long)) % ITEMS
    long["Artikel"] = [f"I{number}" for number in item]
    long["Menge"] = draw.integers(1, 5, len(long))
    prices = np.round(draw.lognormal(2.5, 0.8, ITEMS), 2)
    long["Preis"] = prices[item]
    long["Bemerkung"] = ""
    return long.drop(columns="day")


def write(folder: Path, customers: int) -> Path:
    """The export, `lines.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = lines(customers).assign(Zeit=lambda made: made.Zeit.dt.strftime("%d.%m.%Y %H:%M:%S"))
    file = folder / "lines.csv"
    frame.to_csv(file, sep=";", decimal=",", index=False)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--customers", type=int, default=3_000)
    arguments = parser.parse_args()
    print(write(arguments.folder, arguments.customers))  # noqa: T201


if __name__ == "__main__":
    main()

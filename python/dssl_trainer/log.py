"""log.csv: a row every few steps and at each epoch's end; columns that a row did not measure stay empty."""

import csv

COLUMNS = ("epoch", "step", "loss", "lr", "knn", "rankme", "std", "views_per_second", "data_share", "seconds")


def append(path, row):
    """Adds a row, and the heading to a new file; flushed, so that a killed run keeps it."""
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def read(path):
    """Rows as dictionaries of floats; empty cells are left out."""
    with open(path, newline="") as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def cut_after(path, step):
    """Drops rows that a killed run wrote after its last checkpoint; resuming writes them again."""
    if not path.exists():
        return
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["step"] and int(row["step"]) <= step]
    path.unlink()
    for row in rows:
        append(path, row)

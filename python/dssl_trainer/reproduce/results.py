"""What finished runs measured, as tables beside the paper's numbers; everything from the run folders alone."""

import statistics
from typing import NamedTuple

from ..config import BYOL_HARDER
from ..data.views import op_sets
from ..device import kind
from ..experiments import ABOUT, LEFT_OUT
from ..variants import LABELS
from .cells import EQ6

PAIRS = (("dssl", "heavy"), ("baseline", "heavy"), ("dssl", "baseline"))
READINGS = {"hh": "all views heavy", "all": "Eq. 6, all ones", "sh": "pairs of standard and heavy"}


class Table(NamedTuple):
    """A table of texts with a note below it."""

    title: str
    heading: tuple
    rows: list
    note: str = ""


class Result(NamedTuple):
    """The numbers of a finished run; best: (kNN, epoch) of the epoch that is best on the test set; alarm: the epoch
    of the first collapse alarm or None; curve: [(epoch, kNN)]."""

    knn: float
    fast: float
    linear: float | None
    best: tuple
    rankme: float
    std: float
    untrained: float
    alarm: float | None
    curve: list


def result(kept):
    rows = [row for row in kept.rows if "knn" in row]
    best = max(rows[1:], key=lambda row: row["knn"])
    last, found = rows[-1], kept.evaluations
    return Result(
        found["knn"]["top1"], found["fast"]["top1"], found.get("linear", {}).get("top1"), (best["knn"], best["epoch"]),
        last["rankme"], last["std"], rows[0]["knn"], first_alarm(kept.rows), curve(kept.rows),
    )  # fmt: skip


def curve(rows):
    return [(row["epoch"], row["knn"]) for row in rows if "knn" in row]


def first_alarm(rows):
    return next((row["epoch"] for row in rows if row.get("alarm")), None)


def by_cell(steps):
    """{cell's label: [Step]}, one per seed."""
    found: dict[str, list] = {}
    for one in steps:
        found.setdefault(one.job.cell.label, []).append(one)
    return found


def measured(steps):
    return [result(one.kept) for one in steps if one.state == "finished"]


def tables(experiment, steps):
    """[Table] of an experiment."""
    found = [summary(experiment, steps), differences(steps), overtaking(steps), single_runs(steps)]
    return [table for table in found if table is not None]


# ---- a line per cell: mean and deviation over seeds


def summary(experiment, steps):
    linear = any(one.linear is not None for one in measured(steps))
    heading = ("cell", "the paper", "kNN", "best kNN on test", "`fast`", *(["linear"] if linear else []),
               "effective rank", "collapse alarm", "seeds")  # fmt: skip
    rows = [cell_row(label, ours, linear) for label, ours in by_cell(steps).items()]
    return Table(ABOUT[experiment], heading, rows, summary_note(steps) + left_out(experiment))


def summary_note(steps):
    kinds = dict.fromkeys(one.kept.evaluations[name]["about"] for name in ("knn", "fast") for one in steps
                          if one.state == "finished")  # fmt: skip
    numbers = f"Top-1 in percent on all test images, last epoch: {'; '.join(kinds)}. " if kinds else ""
    return (
        f"{numbers}Mean and standard deviation over seeds. Best on test: the highest of the run's evaluations, chosen "
        "on the test set as the authors do. The paper: linear evaluation at full scale." + trained_on(steps)
    )


def trained_on(steps):
    """Which cells were trained on which kind of device, where not all on one."""
    places: dict[str, dict] = {}
    for one in (one for one in steps if one.state == "finished"):
        places.setdefault(kind(one.kept.config.device), {})[one.job.cell.label] = None
    told = "; ".join(f"on {device}: {', '.join(labels)}" for device, labels in places.items())
    return f" Trained {told}." if len(places) > 1 else ""


def left_out(experiment):
    """What the paper's figure has and no row here."""
    return "".join(f" Left out, {part}: {why}." for part, why in LEFT_OUT.get(experiment, {}).items())


def cell_row(label, steps, linear):
    done, cell = measured(steps), steps[0].job.cell
    name = f"{label}: {cell.note}" if cell.note else label
    if not done:
        return (name, paper(cell), not_run(steps), *[""] * (5 + linear))
    alarms = [f"{one.alarm:g}" for one in done if one.alarm is not None]
    alarm = f"{len(alarms)} of {len(done)}, epoch {', '.join(alarms)}" if alarms else "no"
    names = ["knn", "best", "fast", *["linear"] * linear, "rankme"]
    values = [[getattr(one, name) for one in done] for name in names]
    values[1] = [knn for knn, _ in values[1]]
    seeds = ", ".join(str(one.job.config.seed) for one in steps if one.state == "finished")
    return (name, paper(cell), *(spread(v) if None not in v else "" for v in values), alarm, seeds)


def not_run(steps):
    begun = [one for one in steps if one.kept]
    if not begun:
        return "not run"
    return "; ".join(f"not finished: epoch {one.kept.epoch:.3g} of {one.job.config.epochs}" for one in begun)


def paper(cell):
    return "-" if cell.paper is None else str(cell.paper)


def spread(values):
    mean = points(statistics.mean(values))
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def points(value):
    """With one decimal, and no sign before nothing."""
    return f"{round(value, 1) + 0.0:.1f}"


# ---- the rule's differences


def differences(steps):
    """DSSL, T-hat and baseline against each other, seed by seed, per recipe and heavy policy; None without any."""
    rows = []
    for (recipe, heavy), group in policies(steps).items():
        for a, b in (*PAIRS, ("soft", "dssl")):
            if seeds := seeds_of_both(group, a, b):
                texts = [spread(gaps(group, a, b, name)) for name in ("knn", "fast")]
                rows.append((recipe, heavy, f"{LABELS[a]} - {LABELS[b]}", *texts, ", ".join(map(str, seeds))))
    heading = ("recipe", "heavy policy", "difference", "kNN", "`fast`", "seeds")
    note = "Points of percent, last epoch, the two runs of a seed subtracted; mean and standard deviation over seeds."
    return Table("Differences", heading, rows, note + trained_on(steps)) if rows else None


def seeds_of_both(group, a, b):
    return sorted(group.get(a, {}).keys() & group.get(b, {}).keys())


def gaps(group, a, b, name):
    """Points between two variants, seed by seed."""
    return [getattr(group[a][s], name) - getattr(group[b][s], name) for s in seeds_of_both(group, a, b)]


def policies(steps):
    """{(recipe, heavy policy): {variant: {seed: Result}}} of plain cells (Eq. 6 and views as the recipe has them); the
    baseline, which has no heavy policy, stands with each."""
    plain = [one for one in steps if one.state == "finished" and not extra(one.job)]
    named = dict.fromkeys((one.job.cell.recipe, one.job.config.heavy) for one in plain)
    heavies = [pair for pair in named if any(is_of(one, pair) and not baseline(one) for one in plain)]
    found: dict[tuple, dict] = {pair: {} for pair in heavies}
    for pair, group in found.items():
        for one in (one for one in plain if is_of(one, pair)):
            group.setdefault(one.job.config.variant, {})[one.job.config.seed] = result(one.kept)
    return found


def baseline(one):
    return one.job.config.variant == "baseline"


def is_of(one, pair):
    """Whether it belongs to (recipe, policy); a baseline does to any but byol_harder, which alters its views, too."""
    recipe, heavy = pair
    alike = one.job.config.heavy == heavy or (baseline(one) and BYOL_HARDER not in (heavy, one.job.config.heavy))
    return one.job.cell.recipe == recipe and alike


def extra(job):
    return set(job.cell.settings) - {"variant", "heavy", "epochs"}


def overtaking(steps):
    """For runs of more than 10 epochs: from when on DSSL's kNN stays above the baseline's."""
    rows = []
    for (recipe, heavy), group in policies([one for one in steps if one.job.config.epochs > 10]).items():
        ours, theirs = group.get("dssl", {}), group.get("baseline", {})
        for seed in seeds_of_both(group, "dssl", "baseline"):
            epoch = overtakes(ours[seed].curve, theirs[seed].curve)
            rows.append((recipe, heavy, str(seed), "never" if epoch is None else f"from epoch {epoch:g} on"))
    heading = ("recipe", "heavy policy", "seed", "DSSL's kNN stays above the baseline's")
    return Table("Overtaking", heading, rows, "At the evaluated epochs.") if rows else None


def overtakes(ours, theirs):
    """The first evaluated epoch from which on, to the end, our kNN is higher; None where it is not at the end."""
    known, since = dict(theirs), None
    for epoch, knn in ours:
        if epoch in known:
            above = knn > known[epoch]
            since = (epoch if since is None else since) if above else None
    return since


# ---- a line per run


def single_runs(steps):
    heading = ("run", "scale", "epochs", "seed", "op set", "heavy policy", "T-hat", "alpha beta gamma delta", "kNN",
               "best on test (epoch)", "`fast`", "rank", "std", "alarm", "untrained kNN",
               "precision, device, torch", "commit")  # fmt: skip
    return Table("Runs", heading, [run_row(one) for one in steps], data_note(steps))


def run_row(one):
    config = one.kept.config if one.kept else one.job.config
    name = one.kept.folder.name if one.kept else one.job.name
    start = (name, config.scale, str(config.epochs), str(config.seed), *circumstances(config))
    if one.state != "finished":
        return (*start, not_run([one]), *[""] * 8)
    ours, commit = result(one.kept), one.kept.versions.get("commit") or ""
    machine = f"{config.precision}, {config.device}, {one.kept.versions.get('torch', '?')}"
    best = f"{ours.best[0]:.1f} ({ours.best[1]:g})"
    alarm = "no" if ours.alarm is None else f"epoch {ours.alarm:g}"
    return (*start, f"{ours.knn:.2f}", best, f"{ours.fast:.2f}", f"{ours.rankme:.1f}", f"{ours.std:.2f}", alarm,
            f"{ours.untrained:.1f}", machine, commit[:10] + "-dirty" * commit.endswith("-dirty"))  # fmt: skip


def circumstances(config):
    """Op sets, heavy policy, reading of T-hat, weights of Eq. 6; '-' for what the variant does not use."""
    if config.variant == "baseline":
        return "-", "-", "-", "-"
    reading = READINGS[config.heavy_views] if config.variant == "heavy" else "-"
    weights = "-" if config.variant == "heavy" else " ".join(
        f"{getattr(config, name):g}" for name in EQ6)  # fmt: skip
    source = {"view": "", "image": ", from the image", "crop": ", from another crop"}[config.heavy_from]
    return ", ".join(op_sets(config)) or "-", config.heavy + source, reading, weights


def data_note(steps):
    """Checksums where they differ: by words alone a copy and the original are alike."""
    kept = [one.kept for one in steps if one.kept]
    several = len({one.images for one in kept} - {None}) > 1
    places = dict.fromkeys(one.about + f", checksum {one.images or 'unknown'}" * several for one in kept)
    return f"Data: {'; '.join(places)}." if places else ""

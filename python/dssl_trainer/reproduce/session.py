"""`dssl reproduce`: plan, runs, report."""

from ..distributed import launched
from ..errors import TrainerError
from . import collection, pages, plan, runner
from .cells import jobs, kept_runs

SCALES = ("small", "full")


def reproduce(options, out):
    """Prints the plan, runs what is not finished, writes the report. Raises TrainerError naming runs that failed."""
    refuse(options)
    pairs = (pair.split("=", 1) for pair in options.changes)
    changes = {name.removeprefix("--").replace("-", "_"): text for name, text in pairs}
    wanted = jobs(options.experiment, options.scale, options.seeds, options.cells, changes)
    steps, source = plan.plan(wanted, out, measure=not (options.report or options.dry_run))
    if options.dry_run and options.scale == "full":
        print("\n".join(plan.recipe(job, changes) for job in wanted))
    print(plan.table(options.experiment, options.scale, steps, source, out), flush=True)
    if options.dry_run:
        return
    failed = {} if options.report else run(steps, out, options, changes)
    conclude(options, wanted, out)
    if failed:
        told = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise TrainerError(f"{len(failed)} of {len(steps)} runs failed: {told}")


def refuse(options):
    if options.scale not in SCALES:
        raise TrainerError(f"--scale: expected one of {', '.join(SCALES)}; got {options.scale!r}")
    if strange := [pair for pair in options.changes if "=" not in pair]:
        raise TrainerError(f"--set: expected NAME=VALUE; got {strange[0]!r}")
    if launched():
        raise TrainerError("one process runs the cells; on several GPUs start each run by torchrun, as --dry-run "
                           "prints it, into its folder in --out, then --report")  # fmt: skip


def run(steps, out, options, changes):
    """Runs whose data are known; the others are named."""
    places = {"cifar10": options.data, "imagenet": options.imagenet}
    refuse_other_images(steps, places)
    without = [one for one in steps if one.state != "finished" and places[one.job.config.dataset] is None]
    if without and len(without) == len([one for one in steps if one.state != "finished"]):
        option = {"cifar10": "--data", "imagenet": "--imagenet"}[without[0].job.config.dataset]
        raise TrainerError(f"{option}: expected a folder with the images, or 'drawn' for synthetic ones; got nothing")
    if without:
        print(f"no data given for {len(without)} runs: {', '.join(one.job.name for one in without)}\n", flush=True)
    return runner.run_all([one for one in steps if one not in without], out, places, changes)


def refuse_other_images(steps, places):
    """A trial with drawn images must not pass for the run with real ones, nor the other way round."""
    for one in (one for one in steps if one.kept):
        place = places[one.job.config.dataset]
        if place is not None and (place == "drawn") != one.kept.is_drawn:
            raise TrainerError(
                f"--out: {one.kept.folder} was trained on other images: {one.kept.about}; use another --out"
            )


def conclude(options, wanted, out):
    steps, _ = plan.plan(wanted, out, measure=False)
    paths = pages.write(options.experiment, options.scale, steps, out)
    print(paths[0].read_text(encoding="utf-8"))
    print("report: " + ", ".join(str(path) for path in paths))


def collect(out, scale):
    for line in collection.collect(kept_runs(out), scale):
        print(line)


def table5(scale, out):
    from . import transfer  # and with it torchvision's detectors, which take seconds

    print(transfer.table(scale, kept_runs(out)))

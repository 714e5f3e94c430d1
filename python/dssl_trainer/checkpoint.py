"""Checkpoints: complete, written whole or not at all, and loaded without running code.

checkpoint.pt is what `torch.load(path, weights_only=True)` reads:

    config      {setting: value}, as in config.json
    progress    step (the sampler's position: order and views follow from it and the seed), checksum of the data,
                running loss, seconds, kNN of the untrained encoder, evidence of collapse
    model       state_dict of the method: encoder.* is the backbone f under torchvision's names, projector.* is g,
                predictor.* is h; BYOL: target.0.*, target.1.* the slow f and g; MoCo: slow.0.*, slow.1.*, queue.keys,
                queue.pointer, passes (the number of forward passes, which the shuffles are drawn from)
    optimizer   state_dict of the optimiser; the schedules follow from the step
    scaler      of gradients, where the precision is fp16
"""

import contextlib
import pickle
import shutil

import torch

from .atomic import replacing
from .config import as_dict, show
from .errors import TrainerError

# None of these alters what a step computes, but for the rounding of floats, which another device or number of
# threads may change.
FREE = {"out", "data", "download", "workers", "device", "threads", "max_steps", "resume", "on_collapse", "tensorboard"}
FREE |= {"on_nan", "rank_timeout", "cuda_graph"}
FREE |= {"knn_every", "knn_limit", "log_every", "checkpoint_every", "keep_every"}
INSTEAD = "use another --out or --resume false"

DAMAGE = (
    *(OSError, EOFError, pickle.UnpicklingError, RuntimeError, AttributeError, AssertionError),
    *(TypeError, ValueError, ArithmeticError, LookupError),
)


def save(state, path):
    """After a crash or on a full disk the old checkpoint stands."""
    try:
        with replacing(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else error  # beneath torch's own words
        raise TrainerError(f"checkpoint: cannot write {path}: {getattr(cause, 'strerror', None) or cause}") from None


def copy(path, kept):
    try:
        with open(path, "rb") as source, replacing(kept) as file:
            shutil.copyfileobj(source, file)
    except OSError as error:
        raise TrainerError(f"checkpoint: cannot write {kept}: {error}") from None


@contextlib.contextmanager
def reading(path):
    """Damage shows as errors of many types; each becomes a TrainerError."""
    try:
        yield
    except DAMAGE as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise TrainerError(f"checkpoint: cannot read {path}: {reason}") from None


def load(path):
    """The saved state, tensors on the CPU. Raises TrainerError where the file is not a checkpoint of ours."""
    with reading(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
    missing = {"config", "model", "optimizer", "progress"} - set(state if isinstance(state, dict) else ())
    if missing:
        raise TrainerError(f"checkpoint: {path} is not a dssl checkpoint: it has no {min(missing)}")
    return state


def load_weights(module, weights, path):
    """Strict: where keys or shapes differ, one line says how many do and names the first."""
    own = module.state_dict()
    wrong = [name for name in sorted(own.keys() | weights.keys()) if shape(own, name) != shape(weights, name)]
    if wrong:
        first = f"{wrong[0]} is {shape(weights, wrong[0])} there, {shape(own, wrong[0])} here"
        fits = len(own.keys() | weights.keys()) - len(wrong)
        raise TrainerError(
            f"checkpoint: {path} holds another architecture: {fits} keys fit, {len(wrong)} do not; {first}"
        )
    module.load_state_dict(weights)


def shape(weights, name):
    return tuple(weights[name].shape) if name in weights else "missing"


def refuse_other_settings(config, before, path):
    """Raises TrainerError where the settings `before` of a checkpoint would give other steps."""
    own = as_dict(config)
    changed = [name for name in own if name not in FREE and own[name] != before.get(name)]
    if changed:
        was, now = (show(settings.get(changed[0])) for settings in (before, own))
        raise TrainerError(f"{path} was made with {changed[0]} {was}, not {now}; {INSTEAD}")

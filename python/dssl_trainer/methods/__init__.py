"""One file per framework. A method is a module with

encoder                        the backbone f, which is what is kept; `encoder.width` is its number of features
forward(views, severity)       a Result: the loss of a list of views (B, 3, H, W), and what the log wants
after_step(momentum, keys)     where it has a slow network or a queue: called after each step of the optimiser
"""

from . import barlow, byol, mocov2, simclr, simsiam

METHODS = {
    "simsiam": simsiam.simsiam, "byol": byol.byol, "simclr": simclr.simclr, "mocov2": mocov2.mocov2,
    "barlow": barlow.barlow,
}  # fmt: skip

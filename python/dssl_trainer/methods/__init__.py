"""One file per framework. `forward(views)` of a method returns its loss; its `encoder` is what is kept."""

from .simsiam import simsiam

METHODS = {"simsiam": simsiam}

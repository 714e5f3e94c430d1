"""The reference trainer of dssl_ops: the command `dssl`. It uses only public names of dssl_ops. The way of one image:

cli/train.py      the command line; config.py and presets/ say what is trained, experiments.py what the paper trains
train.py          from the first step to the last: run.py, one run in its folder (log, evaluation, checkpoints)
data/             files -> uint8 batches -> views; variants.py says which views and which terms between them
methods/          views -> loss, a file per framework, on encoders.py and heads.py
learner.py        loss -> gradient -> optimizers.py and schedule.py
evaluation/       what the frozen encoder is worth: kNN, linear, collapse, detection
reports/          curves, galleries, the HTML page
reproduce/        the runs of a table or figure, one after the other, and their numbers beside the paper's
"""

"""What moves with the steps: the learning rate, and the momentum of a slow network."""

import math


def learning_rate(config, step, steps_per_epoch):
    """The rate of step 0, 1, ..: linear warm-up, then half a cosine down to lr_end of the peak (0 by default).

    'step': both move with every step. 'epoch': the authors' CIFAR schedule, constant in epoch e = 1, 2, ..:
    lr e / (W - 1) while e < W, then lr (1 + cos(pi (e - W) / (E - W))) / 2, which is 0 in the last epoch.
    Without warm-up (W = 0), e counts from 0: the first epoch has lr, and the last one is above 0."""
    if config.schedule == "step":
        warmup, total = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
        ramp, position = (step + 1) / max(warmup, 1), step
    else:
        warmup, total = config.warmup_epochs, config.epochs
        position = step // steps_per_epoch + (1 if warmup else 0)
        ramp = position / max(warmup - 1, 1)
    if position < warmup:
        return config.lr * ramp
    cosine = 0.5 * (1 + math.cos(math.pi * (position - warmup) / (total - warmup)))
    return config.lr * (config.lr_end + (1 - config.lr_end) * cosine)


def ema_momentum(config, step, last_step):
    """tau of step 0, 1, ..: constant, or BYOL's 1 - (1 - tau0) (cos(pi k / K) + 1) / 2, which ends at 1."""
    if config.ema_schedule == "constant":
        return config.ema
    return 1 - (1 - config.ema) * (math.cos(math.pi * step / last_step) + 1) / 2

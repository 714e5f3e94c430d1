"""How many examples hypothesis draws: a few that are always the same here, many in `python tests/hardening`."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "quick",
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,  # the first call of an op loads the kernels
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture),
)
settings.load_profile("quick")

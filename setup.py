"""Packages the library: Python, and the C++ sources as data. DSSL_OPS_PREBUILD=1 adds the compiled kernels."""

import importlib.util
import os
import shutil
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PREBUILD = os.environ.get("DSSL_OPS_PREBUILD", "0") == "1"


def build_rules():
    """dssl_ops/_build.py by its path: importing the package imports torch, which a plain install must not need."""
    spec = importlib.util.spec_from_file_location("_build", HERE / "dssl_ops" / "_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildPython(build_py):
    """Starts from an empty build directory: what an earlier install left there would end up in the wheel."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if PREBUILD and not self.editable_mode:
            rules = build_rules()
            rules.build(Path(self.build_lib).resolve() / "dssl_ops", rules.recipe())


class Wheel(Distribution):
    """With the kernels inside, the wheel is for one platform and one Python."""

    def has_ext_modules(self):
        return PREBUILD


setup(
    packages=[
        *find_packages(include=["dssl_ops", "dssl_ops.*"]),
        *find_packages("python", include=["dssl_trainer", "dssl_trainer.*"]),
        "dssl_ops.csrc",
    ],
    package_dir={"dssl_trainer": "python/dssl_trainer", "dssl_ops.csrc": "csrc"},
    package_data={"dssl_ops.csrc": ["*.cpp", "*/*.cpp", "*/*.h"]},
    include_package_data=False,
    cmdclass={"build_py": BuildPython},
    distclass=Wheel,
)

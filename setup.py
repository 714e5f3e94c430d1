"""Packages the library: Python, and the C++ and CUDA sources as data. DSSL_OPS_PREBUILD=1 adds the compiled CPU
kernels, DSSL_OPS_PREBUILD="8.0 9.0" also the CUDA kernels for these architectures.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PREBUILD = [word for word in os.environ.get("DSSL_OPS_PREBUILD", "").split() if word != "0"]


def prebuild(target):
    """The kernels into the package: the CPU's, and the CUDA ones for the architectures that DSSL_OPS_PREBUILD names."""
    sys.path.insert(0, str(HERE))
    from dssl_ops import _build, _build_cuda

    _build.build(target, _build.recipe())
    if architectures := [word for word in PREBUILD if word != "1"]:
        _build_cuda.build(target, architectures, _build_cuda.recipe())


class BuildPython(build_py):
    """Starts from an empty build directory: what an earlier install left there would end up in the wheel."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if PREBUILD and not self.editable_mode:
            prebuild(Path(self.build_lib).resolve() / "dssl_ops")


class Wheel(Distribution):
    """With the kernels inside, the wheel is for one platform and one Python."""

    def has_ext_modules(self):
        return bool(PREBUILD)


setup(
    packages=[
        *find_packages(include=["dssl_ops", "dssl_ops.*"]),
        *find_packages("python", include=["dssl_trainer", "dssl_trainer.*"]),
        "dssl_ops.csrc",
    ],
    package_dir={"dssl_trainer": "python/dssl_trainer", "dssl_ops.csrc": "csrc"},
    package_data={
        "dssl_ops": ["py.typed"],
        "dssl_trainer": ["py.typed"],
        "dssl_ops.csrc": ["*.cpp", "*/*.cpp", "*/*.h", "*/*.cu", "*/*.cuh"],
    },
    include_package_data=False,
    cmdclass={"build_py": BuildPython},
    distclass=Wheel,
)

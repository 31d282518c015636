"""Build of the compiled units in ``relo_ingest/_fast``.

An extension that cannot be built stops the installation: there is no slow path to fall back to.

Switches (environment, read at build time only):
  RELO_BUILD_DEBUG=1     bounds checks, line tracing, -O0 -g: for debugging and coverage
  RELO_BUILD_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer (see ``make sanitize``)
  RELO_BUILD_ANNOTATE=1  writes Cython's annotated HTML beside each .pyx
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup


def switch(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


debug = switch("RELO_BUILD_DEBUG")
sanitize = switch("RELO_BUILD_SANITIZE")

compile_args = ["-O0", "-g", "-DCYTHON_TRACE=1"] if debug else ["-O3", "-g0"]
link_args: list[str] = []
if sanitize:
    flags = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined", "-g"]
    compile_args += flags
    link_args += flags

UNITS = ("ulid", "signature", "digest", "headers", "jsontext", "rowbinary", "segment")

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"relo_ingest._fast.{unit}",
                [f"relo_ingest/_fast/{unit}.pyx"],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
            )
            for unit in UNITS
        ],
        compiler_directives={
            "language_level": 3,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "cdivision": not debug,
            "linetrace": debug,
            "embedsignature": True,
        },
        annotate=switch("RELO_BUILD_ANNOTATE"),
        force=debug or sanitize,
    )
)

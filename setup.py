"""Build of the compiled units in ``relo_ingest/_fast``, and of the pixel's script.

An extension that cannot be built stops the installation: there is no slow path to fall back to.

Switches (environment, read at build time only):
  RELO_BUILD_DEBUG=1     bounds checks, line tracing, -O0 -g: for debugging and coverage
  RELO_BUILD_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer (see ``make sanitize``)
  RELO_BUILD_ANNOTATE=1  writes Cython's annotated HTML beside each .pyx
"""

import os
import re
from pathlib import Path

import brotli
import minify
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


def build_pixel() -> None:
    """relo_ingest/pixel/r.js → r.min.js with the package's version in it, and r.min.js.br. No Node is needed."""
    package = Path(__file__).parent / "relo_ingest"
    version = re.search('__version__ = "(.+)"', (package / "__init__.py").read_text())[1]
    minify.config({"js-version": 2017})
    source = (package / "pixel/r.js").read_text().replace("'0.0.0'", f"'{version}'")
    script = minify.string("text/javascript", source).encode()
    (package / "pixel/r.min.js").write_bytes(script)
    (package / "pixel/r.min.js.br").write_bytes(brotli.compress(script))


build_pixel()

UNITS = ("ulid", "signature", "digest", "headers", "query", "jsontext", "rowbinary", "segment")

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

"""The versions of the libraries that a study imports."""

from __future__ import annotations

import numpy
import yaml

from orchestrator.definition.finder import KeptModule
from orchestrator.definition.libraries import library_versions


def versions(**texts):
    return library_versions({name: KeptModule(f"/study/{name}.py", None, text) for name, text in texts.items()})


def test_libraries_are_found_also_inside_functions_and_without_the_standard_library_and_own_modules():
    study = "import os, json\nimport helper\nimport orchestrator\ndef f():\n    from numpy.random import default_rng\n"
    assert versions(study=study, helper="import yaml\nfrom . import other\n") == {
        "numpy": numpy.__version__,
        "yaml": yaml.__version__,
    }


def test_a_library_that_is_not_installed_and_a_text_that_is_not_python_are_left_out():
    assert versions(study="import nowhere_to_be_found\n", cell="%matplotlib inline\n") == {}

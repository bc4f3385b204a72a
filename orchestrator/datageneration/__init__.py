"""The names of `f3dasm.datageneration`: a study of f3dasm changes only the first word of its imports."""

from orchestrator.datageneration.factory import create_datagenerator
from orchestrator.definition.data_generators import DataGenerator, datagenerator

__all__ = ["DataGenerator", "create_datagenerator", "datagenerator"]

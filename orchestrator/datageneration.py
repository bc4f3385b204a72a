"""The names of `f3dasm.datageneration`: a study of f3dasm changes only the first word of its imports."""

from orchestrator.definition.blocks import DataGenerator

__all__ = ["DataGenerator"]

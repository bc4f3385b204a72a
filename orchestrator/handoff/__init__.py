"""The files that the engine and the tasks exchange. Only the standard library is imported."""

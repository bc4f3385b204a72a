"""The experiments of a table by label, as f3dasm's `ExperimentData.data`: a change of one is a change of the table."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from orchestrator.data.experiment_sample import ExperimentSample

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["LiveSamples"]


class LiveSamples(MutableMapping[int, ExperimentSample]):
    """The experiments of a table by label.

    Parameters
    ----------
    data : ExperimentData
        The table.
    """

    def __init__(self, data: ExperimentData) -> None:
        self._data = data

    def __getitem__(self, label: int) -> ExperimentSample:
        sample = self._data.get_experiment_sample(label)
        live = _LiveSample(sample._input_data, sample._output_data, sample.job_status, sample.project_dir, id=label)
        live._table = self._data
        return live

    def __setitem__(self, label: int, sample: ExperimentSample) -> None:
        self._data.store_experimentsample(sample, label)

    def __delitem__(self, label: int) -> None:
        kept = [position for position, other in enumerate(self) if other != label]
        if len(kept) == len(self):
            raise KeyError(label)
        contents = self._data._contents
        contents.table = contents.table.take(kept)

    def __iter__(self) -> Iterator[int]:
        return iter(self._data.labels())

    def __len__(self) -> int:
        return len(self._data)


class _LiveSample(ExperimentSample):
    """An experiment whose methods change its table, too."""

    _table: ExperimentData | None = None

    def store(self, *args: Any, **kwargs: Any) -> None:
        """Set an output, or an input."""
        super().store(*args, **kwargs)
        self._write()

    def mark(self, *args: Any, **kwargs: Any) -> None:
        """Set the status."""
        super().mark(*args, **kwargs)
        self._write()

    def replace_nan(self, *args: Any, **kwargs: Any) -> None:
        """Replace missing inputs and outputs."""
        super().replace_nan(*args, **kwargs)
        self._write()

    def round(self, *args: Any, **kwargs: Any) -> None:
        """Round the floats among inputs and outputs."""
        super().round(*args, **kwargs)
        self._write()

    def _write(self) -> None:
        if self._table is not None and self.id is not None:
            self._table.store_experimentsample(self, self.id)

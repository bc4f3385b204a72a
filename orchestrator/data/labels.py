"""`Labels`: the label of each row of a table, and the position of the row with a label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.data.numpy_types import LONG, is_array, is_integer

__all__ = ["Labels"]


class Labels:
    """The labels of rows. Those of most tables are consecutive; only others need a dict from label to position.

    Parameters
    ----------
    labels : iterable of int
        Unique integers; a `range` takes no memory.
    """

    def __init__(self, labels: Iterable[int]) -> None:
        labels = labels if isinstance(labels, range) else list(labels)
        n = len(labels)
        if n and not isinstance(labels, range) and labels[-1] - labels[0] == n - 1:
            consecutive = range(labels[0], labels[0] + n)
            labels = consecutive if labels == list(consecutive) else labels
        if isinstance(labels, range) and labels.step != 1:
            labels = list(labels)
        self._labels: range | list[int] = labels if n else range(0)
        self._positions: dict[int, int] | None = None
        self._next: int | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[int]:
        return iter(self._labels)

    def __getitem__(self, position: int) -> int:
        return self._labels[position]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Labels):
            return NotImplemented
        return len(self) == len(other) and (self._labels == other._labels or list(self) == list(other))

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, label: object) -> bool:
        if isinstance(self._labels, range):
            # A range would be searched from its begin for an integer of NumPy.
            return (int(label) if is_integer(label) else label) in self._labels
        return label in self._index()

    def __repr__(self) -> str:
        return f"Labels({self._labels!r})"

    @property
    def consecutive(self) -> range | None:
        """The labels as a range; None if they are not consecutive."""
        return self._labels if isinstance(self._labels, range) else None

    def _index(self) -> dict[int, int]:
        if self._positions is None:
            self._positions = {label: position for position, label in enumerate(self._labels)}
        return self._positions

    def position(self, label: int) -> int:
        """Return the position of the row with a label.

        Raises
        ------
        KeyError
            If no row has this label.
        """
        if label not in self:
            raise KeyError(f"the table has no experiment with the label {label}")
        return int(label) - self._labels.start if isinstance(self._labels, range) else self._index()[label]

    def find(self, labels: Iterable[int]) -> list[int | None]:
        """Return the positions of the rows with these labels; None for one that no row has."""
        if isinstance(self._labels, range):
            start, stop = self._labels.start, self._labels.stop
            return [label - start if start <= label < stop else None for label in labels]
        return [*map(self._index().get, labels)]

    def between(self, begin: int, end: int) -> Sequence[int]:
        """Return the labels between two positions."""
        return self._labels[begin:end]

    def positions(self, labels: Iterable[int]) -> Sequence[int]:
        """Return the positions of the rows with these labels; otherwise as `position`."""
        labels = labels if is_array(labels) else list(labels)
        if isinstance(self._labels, range) and len(labels) >= LONG:
            import numpy as np

            positions = np.asarray(labels) - self._labels.start
            if positions.dtype.kind in "iu" and positions.min() >= 0 and positions.max() < len(self):
                found: Sequence[int] = positions  # type: ignore[assignment]
                return found
        return [self.position(int(label)) for label in labels]

    def next_label(self) -> int:
        """Return the first label that is larger than all labels."""
        if isinstance(self._labels, range):
            return self._labels.stop
        if self._next is None:
            self._next = max(self._labels) + 1
        return self._next

    def take(self, positions: Sequence[int]) -> Labels:
        """Return the labels at these positions."""
        labels = self._labels
        positions = positions.tolist() if is_array(positions) else positions
        if isinstance(labels, range):
            return Labels([labels.start + position for position in positions])
        return Labels([labels[position] for position in positions])

    def append(self, label: int) -> None:
        """Add the label of a row at the end."""
        if isinstance(self._labels, range):
            start = self._labels.start if self._labels else label
            if label == start + len(self._labels):
                self._labels = range(start, label + 1)
                return
            self._labels = list(self._labels)
        if self._positions is not None:
            self._positions[label] = len(self._labels)
        if self._next is not None:
            self._next = max(self._next, label + 1)
        self._labels.append(label)

    def extend(self, labels: range) -> None:
        """Add the labels of rows at the end."""
        if isinstance(self._labels, range) and (not self._labels or labels.start == self._labels.stop):
            self._labels = range(self._labels.start if self._labels else labels.start, labels.stop)
            return
        self._labels = [*self._labels, *labels]
        self._positions = self._next = None

    def copy(self) -> Labels:
        """Return a copy."""
        return Labels(self._labels)

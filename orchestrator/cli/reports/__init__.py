"""What a run has found and used, as values and as a page: for `report` and `efficiency`."""

"""What the user writes: steps, loops, blocks and resources, checked and flattened to a plan."""

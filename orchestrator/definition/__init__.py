"""The user's definition of a pipeline: steps, loops, blocks and resources; checks, plan and bundle."""

"""The data of a study: domain, experiments, samples, results, and their files."""

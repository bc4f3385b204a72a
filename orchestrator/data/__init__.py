"""What a study is about: its domain, its experiments, their results, and the files that hold them."""

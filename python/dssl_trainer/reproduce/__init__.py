"""`dssl reproduce`: the runs of a table or figure one after the other, and their report beside the paper's numbers."""

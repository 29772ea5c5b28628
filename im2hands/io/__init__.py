"""Files: atomic writers, columnar tables with provenance, restricted unpickling, errors with remedies, progress."""
